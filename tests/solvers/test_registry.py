import pytest

from skneuralde.problems import Problem
from skneuralde.solvers import choose_solver, get_solver, solver_names


def test_every_name_gives_its_solver():
    names = solver_names()
    assert {
        "euler",
        "milstein",
        "platen",
        "ees25",
        "sosri",
        "sra1",
        "bs3",
        "dopri5",
        "tsit5",
        "torchsde:srk",
        "torchdiffeq:dopri8",
    } <= set(names)
    assert [get_solver(name).name for name in names] == names


def test_an_unknown_name_lists_the_valid_ones():
    with pytest.raises(
        ValueError, match=r"unknown solver 'dorpi5'; did you mean 'dopri5'\? valid names are 'auto', 'bs3'"
    ):
        get_solver("dorpi5")
    with pytest.raises(ValueError, match="unknown solver None; valid names"):
        get_solver(None)


def test_auto_suits_the_problem():
    for noise in ("diagonal", "additive", "general"):
        for calculus in ("ito", "stratonovich"):
            problem = Problem(0.0, 1.0, noise=noise, calculus=calculus)
            get_solver(choose_solver(problem)).check(problem)
    get_solver(choose_solver(Problem(0.0))).check(Problem(0.0))


@pytest.mark.parametrize(
    ("solver", "problem", "able"),
    [
        (
            "tsit5",
            Problem(0.0, 1.0),
            "cannot treat diagonal noise; these can: 'ees25', 'euler', 'milstein', 'platen', 'sosri'",
        ),
        ("sosra", Problem(0.0, 1.0), "cannot treat diagonal noise; these can: 'ees25', 'euler'"),
        ("torchsde:srk", Problem(0.0, lambda t, u: u[..., None], noise="general"), "cannot treat general noise"),
        ("torchsde:euler", Problem(0.0), "cannot treat equations without noise; these can: 'bs3', 'dopri5', 'ees25'"),
    ],
)
def test_a_solver_that_cannot_treat_the_noise_names_those_that_can(solver, problem, able):
    with pytest.raises(ValueError, match=able):
        get_solver(solver).check(problem)
