"""Explicit Runge-Kutta pairs for equations that are not stiff."""

from __future__ import annotations

from skneuralde.solvers.methods.runge_kutta.base import RungeKutta, Tableau


class BogackiShampine(RungeKutta):
    """Third order: for loose tolerances, or right-hand sides that are not smooth.

    References
    ----------
    .. [1] P. Bogacki and L. F. Shampine, "A 3(2) pair of Runge-Kutta formulas", Appl. Math. Lett. 2 (1989) 321-325.
    """

    name = "bs3"
    order = error_order = 3
    reference = "Bogacki & Shampine (1989)"
    # The dense output is the cubic Hermite interpolant.
    tableau = Tableau(
        nodes=(1 / 2, 3 / 4, 1.0),
        matrix=((1 / 2,), (0.0, 3 / 4), (2 / 9, 1 / 3, 4 / 9)),
        error=(2 / 9 - 7 / 24, 1 / 3 - 1 / 4, 4 / 9 - 1 / 3, -1 / 8),
        dense=((1.0, -4 / 3, 5 / 9), (0.0, 1.0, -2 / 3), (0.0, 4 / 3, -8 / 9), (0.0, -1.0, 1.0)),
    )


class Tsitouras(RungeKutta):
    """Fifth order with small error constants: the usual choice.

    References
    ----------
    .. [1] C. Tsitouras, "Runge-Kutta pairs of order 5(4) satisfying only the first column simplifying assumption",
       Comput. Math. Appl. 62 (2011) 770-775.
    """

    name = "tsit5"
    order = error_order = 5
    reference = "Tsitouras (2011)"
    tableau = Tableau(
        nodes=(0.161, 0.327, 0.9, 0.9800255409045097, 1.0, 1.0),
        matrix=(
            (0.161,),
            (-0.008480655492356989, 0.335480655492357),
            (2.8971530571054935, -6.359448489975075, 4.3622954328695815),
            (5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525),
            (5.86145544294642, -12.92096931784711, 8.159367898576159, -0.071584973281401, -0.028269050394068383),
            (
                0.09646076681806523,
                0.01,
                0.4798896504144996,
                1.379008574103742,
                -3.290069515436081,
                2.324710524099774,
            ),
        ),
        error=(
            -0.00178001105222577714,
            -0.0008164344596567469,
            0.007880878010261995,
            -0.1447110071732629,
            0.5823571654525552,
            -0.45808210592918697,
            0.015151515151515152,
        ),
        dense=(
            (1.0, -2.763706197274826, 2.9132554618219126, -1.0530884977290216),
            (0.0, 0.1317, -0.2234, 0.1017),
            (0.0, 3.930296236894751, -5.941033872131505, 2.490627285651253),
            (0.0, -12.411077166933676, 30.33818863028232, -16.548102889244902),
            (0.0, 37.50931341651104, -88.1789048947664, 47.37952196281928),
            (0.0, -27.896526289197286, 65.09189467479368, -34.87065786149661),
            (0.0, 1.5, -4.0, 2.5),
        ),
    )


class DormandPrince(RungeKutta):
    """Fifth order: the classic pair, the default of many packages.

    References
    ----------
    .. [1] J. R. Dormand and P. J. Prince, "A family of embedded Runge-Kutta formulae", J. Comput. Appl. Math. 6 (1980)
       19-26.
    .. [2] L. F. Shampine, "Some practical Runge-Kutta formulas", Math. Comp. 46 (1986) 135-150 (the dense output).
    """

    name = "dopri5"
    order = error_order = 5
    reference = "Dormand & Prince (1980)"
    tableau = Tableau(
        nodes=(1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0),
        matrix=(
            (1 / 5,),
            (3 / 40, 9 / 40),
            (44 / 45, -56 / 15, 32 / 9),
            (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
            (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
            (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
        ),
        error=(71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40),
        dense=(
            (1.0, -4034104133 / 1410260304, 105330401 / 33982176, -13107642775 / 11282082432, 6542295 / 470086768),
            (0.0,),
            (
                0.0,
                132343189600 / 32700410799,
                -833316000 / 131326951,
                91412856700 / 32700410799,
                -523383600 / 10900136933,
            ),
            (0.0, -115792950 / 29380423, 185270875 / 16991088, -12653452475 / 1880347072, 98134425 / 235043384),
            (
                0.0,
                70805911779 / 24914598704,
                -4531260609 / 600351776,
                988140236175 / 199316789632,
                -14307999165 / 24914598704,
            ),
            (0.0, -331320693 / 205662961, 31361737 / 7433601, -2426908385 / 822651844, 97305120 / 205662961),
            (0.0, 44764047 / 29380423, -1532549 / 353981, 90730570 / 29380423, -8293050 / 29380423),
        ),
    )
