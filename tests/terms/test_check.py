"""What is said of a coefficient that does not fit."""

import pytest
import torch

from skneuralde.terms import Constant, Known, Sum, UserModule, check_term

T = torch.linspace(0, 1, 4, dtype=torch.float64)[:, None]
U = torch.arange(8, dtype=torch.float64).view(4, 2)


def check(function, shape=(2,), u=U, c=None):
    return check_term(Known(function, "drift"), name="drift", shape=shape, t=T.to(u.dtype), u=u, c=c)


def double_in_place(t, u):
    u *= 2
    return u.clone()


def fails(t, u):
    return u @ torch.ones(3, 3, dtype=u.dtype)


def test_returns_the_value():
    assert torch.equal(check(lambda t, u: -u), -U)
    assert check(lambda t, u: torch.stack([u] * 3, -1), shape=(2, None)).shape == (4, 2, 3)
    assert check(lambda t, u: u[:, 0], shape=()).shape == (4,)
    assert not check(lambda t, u: u * torch.ones((), dtype=u.dtype, requires_grad=True)).requires_grad


@pytest.mark.parametrize(
    ("function", "shape", "message"),
    [
        (lambda t, u: -1.0, (2,), r"drift must return a torch tensor of shape \(4, 2\), got float"),
        (lambda t, u: u.numpy(), (2,), "got ndarray"),
        (lambda t, u: u[:, :1], (2,), r"return shape \(4, 2\) for u of shape \(4, 2\), got \(4, 1\)"),
        (lambda t, u: u[0], (2,), r"got \(2,\)"),
        (lambda t, u: u, (2, None), r"return shape \(4, 2, m\) .* got \(4, 2\)"),
        (lambda t, u: u[:, :1], (), r"return shape \(4,\)"),
        (lambda t, u: u.float(), (2,), "dtype of u, torch.float64, got torch.float32"),
        (lambda t, u: u.to("meta"), (2,), "device of u, cpu, got meta"),
        (lambda t, u: (u - 5).sqrt(), (2,), r"returned nan at index \(0, 0\), where t = 0 and u = \[0.0, 1.0\]"),
        (lambda t, u: 1 / (u - 5), (2,), r"returned inf at index \(2, 1\), where t = 0.666667 and u = \[4.0, 5.0\]"),
        (double_in_place, (2,), "changes u in place"),
    ],
)
def test_refusals(function, shape, message):
    with pytest.raises(ValueError, match=message):
        check(function, shape, u=U.clone())


def test_an_error_of_the_callable_keeps_its_type_and_says_where():
    with pytest.raises(RuntimeError) as caught:
        check(fails, c=torch.zeros(4, 0))
    assert caught.value.__notes__ == ["raised by drift, called with the shapes t (4, 1), u (4, 2), c (4, 0)"]


def test_summands_are_named():
    terms = Sum([Constant(torch.tensor(1.0)), Known(lambda t, u: u[:, :1], "drift[1]")])
    with pytest.raises(ValueError, match=r"drift\[1\] must return shape"):
        check_term(terms, name="drift", shape=(2,), t=T, u=U)


def test_summands_must_agree():
    terms = Sum([Constant(torch.ones(2, 3)), Constant(torch.ones(2, 4))])
    with pytest.raises(ValueError, match=r"terms of diffusion must have one shape, got \(4, 2, 3\), \(4, 2, 4\)"):
        check_term(terms, name="diffusion", shape=(2, None), t=T, u=U)


class Decay(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)

    def forward(self, t, u):
        return self.layer(u)


def test_modules_of_another_precision_are_named():
    term = UserModule(Decay(), "drift")
    with pytest.raises(ValueError, match=r"parameters of dtype torch.float32, .* convert it with .to\(torch.float64\)"):
        check_term(term, name="drift", shape=(2,), t=T, u=U)
    check_term(term, name="drift", shape=(2,), t=T.float(), u=U.float())
