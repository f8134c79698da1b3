"""Network of the spiral and one step of its training, for the competitors that use torch."""

from collections.abc import Callable

import torch
from equations import network_weights, spiral_data
from torch import Tensor


class CubicNetwork(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(2, 50), torch.nn.Tanh(), torch.nn.Linear(50, 2)).double()
        hidden_weight, hidden_bias, output_weight, output_bias = map(torch.as_tensor, network_weights())
        values = (hidden_weight.T, hidden_bias, output_weight.T, output_bias)
        with torch.no_grad():
            for parameter, value in zip(self.parameters(), values, strict=True):
                parameter.copy_(value)

    def forward(self, t, u):
        return self.layers(u**3)


def training_step(network: torch.nn.Module, simulate: Callable[[], Tensor]) -> Callable[[], None]:
    """A step of Adam on the mean of ``simulate()``, which has shape (time, path, dim).

    The learning rate is tiny, so that repeated steps do not change the equation.
    """
    data = torch.as_tensor(spiral_data())
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-9, fused=True)

    def step():
        loss = (simulate().mean(1) - data).square().sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step
