"""Stochastic Runge-Kutta methods of strong order 1.5."""

from __future__ import annotations

from skneuralde.solvers.methods.stochastic_runge_kutta.additive import SRA, SRATableau
from skneuralde.solvers.methods.stochastic_runge_kutta.diagonal import SRI, SRITableau


class SRIW1(SRI):
    """Six evaluations a step: the cheapest of order 1.5 with diagonal noise.

    References
    ----------
    .. [1] A. Roessler, "Runge-Kutta methods for the strong approximation of solutions of stochastic differential
       equations", SIAM J. Numer. Anal. 48 (2010) 922-952.
    """

    name = "sriw1"
    reference = "Roessler (2010)"
    # The published third stage of the drift repeats the first one.
    tableau = SRITableau(
        c0=(3 / 4,),
        c1=(1 / 4, 1.0, 1 / 4),
        A0=((3 / 4,),),
        B0=((3 / 2,),),
        A1=((1 / 4,), (1.0, 0.0), (1 / 4, 0.0)),
        B1=((1 / 2,), (-1.0, 0.0), (-5.0, 3.0, 1 / 2)),
        alpha=(1 / 3, 2 / 3),
        beta1=(-1.0, 4 / 3, 2 / 3, 0.0),
        beta2=(-1.0, 4 / 3, -1 / 3, 0.0),
        beta3=(2.0, -4 / 3, -2 / 3, 0.0),
        beta4=(-2.0, 5 / 3, -2 / 3, 1.0),
    )


class SOSRI(SRI):
    """Stable for steps twice as long as those of ``sriw1``.

    It evaluates the drift outside the step, at t - 0.04 h and t + 3.75 h, and suits autonomous equations. With other
    equations it looks ahead; close to the end of the interval it uses the end instead.

    References
    ----------
    .. [1] C. Rackauckas and Q. Nie, "Stability-optimized high order methods and stiffness detection for pathwise stiff
       stochastic differential equations", IEEE HPEC 2020.
    """

    name = "sosri"
    reference = "Rackauckas & Nie (2020)"
    tableau = SRITableau(
        c0=(-0.04199224421316468, 0.7898405466170333, 3.7504010171562823),
        c1=(0.26204282091330466, 0.05879875232001766, 0.758661169101175),
        A0=(
            (-0.04199224421316468,),
            (2.842612915017106, -2.0527723684000727),
            (4.338237071435815, -2.8895936137439793, 2.3017575594644466),
        ),
        B0=(
            (-0.21641093549612528,),
            (1.5336352863679572, 0.26066223492647056),
            (-1.0536037558179159, 1.7015284721089472, -0.20725685784180017),
        ),
        A1=(
            (0.26204282091330466,),
            (0.20903646383505375, -0.1502377115150361),
            (0.05836595312746999, 0.6149440396332373, 0.08535117634046772),
        ),
        B1=(
            (-0.5119011827621657,),
            (2.67767339866713, -4.9395031322250995),
            (0.15580956238299215, 3.2361551006624674, -1.4223118283355949),
        ),
        alpha=(1.140099274172029, -0.6401334255743456, 0.4736296532772559, 0.026404498125060714),
        beta1=(-1.8453464565104432, 2.688764531100726, -0.2523866501071323, 0.40896857551684956),
        beta2=(0.4969658141589478, -0.5771202869753592, -0.12919702470322217, 0.2093514975196336),
        beta3=(2.8453464565104425, -2.688764531100725, 0.2523866501071322, -0.40896857551684945),
        beta4=(0.11522663875443433, -0.57877086147738, 0.2857851028163886, 0.17775911990655704),
    )


class SOSRI2(SRI):
    """Stable where ``sosri`` is not, and its nodes stay in the step: for diagonal noise, the usual choice.

    References
    ----------
    .. [1] C. Rackauckas and Q. Nie, "Stability-optimized high order methods and stiffness detection for pathwise stiff
       stochastic differential equations", IEEE HPEC 2020.
    """

    name = "sosri2"
    reference = "Rackauckas & Nie (2020)"
    tableau = SRITableau(
        c0=(0.13804532298278663, 0.9999999999999992, 0.9999999999999994),
        c1=(0.45605532163856893, 0.999999999999996, 0.9999999999999962),
        A0=(
            (0.13804532298278663,),
            (0.5818361298250374, 0.4181638701749618),
            (0.4670018408674211, 0.8046204792187386, -0.27162232008616016),
        ),
        B0=(
            (0.08852381537667678,),
            (1.0317752458971061, 0.4563552922077882),
            (1.73078280444124, -0.46089678470929774, -0.9637509618944188),
        ),
        A1=(
            (0.45605532163856893,),
            (0.7555807846451692, 0.24441921535482677),
            (0.6981181143266059, 0.3453277086024727, -0.04344582292908241),
        ),
        B1=(
            (0.6753186815412179,),
            (-0.07452812525785148, -0.49783736486149366),
            (-0.5591906709928903, 0.022696571806569924, -0.8984927888368557),
        ),
        alpha=(-0.15036858140642623, 0.7545275856696072, 0.686995463807979, -0.2911544680711602),
        beta1=(-0.45315689727309133, 0.8330937231303951, 0.3792843195533544, 0.24077885458934192),
        beta2=(-0.4994383733810986, 0.9181786186154077, -0.25613778661003145, -0.16260245862427797),
        beta3=(1.4531568972730915, -0.8330937231303933, -0.3792843195533583, -0.24077885458934023),
        beta4=(-0.4976090683622265, 0.9148155835648892, -1.4102107084476505, 0.9930041932449877),
    )


class SRA1(SRA):
    """Two evaluations of each coefficient a step: the cheapest of order 1.5 with additive noise.

    References
    ----------
    .. [1] A. Roessler, "Runge-Kutta methods for the strong approximation of solutions of stochastic differential
       equations", SIAM J. Numer. Anal. 48 (2010) 922-952.
    """

    name = "sra1"
    reference = "Roessler (2010)"
    tableau = SRATableau(
        c0=(3 / 4,),
        c1=(1.0, 0.0),
        A0=((3 / 4,),),
        B0=((3 / 2,),),
        alpha=(1 / 3, 2 / 3),
        beta1=(1.0, 0.0),
        beta2=(-1.0, 1.0),
    )


class SOSRA(SRA):
    """Three evaluations, stable for longer steps than ``sra1``: for additive noise, the usual choice.

    References
    ----------
    .. [1] C. Rackauckas and Q. Nie, "Stability-optimized high order methods and stiffness detection for pathwise stiff
       stochastic differential equations", IEEE HPEC 2020.
    """

    name = "sosra"
    reference = "Rackauckas & Nie (2020)"
    tableau = SRATableau(
        c0=(0.6923962376159507, 1.0),
        c1=(0.0, 0.041248171110700504, 1.0),
        A0=((0.6923962376159507,), (-3.1609142252828395, 4.1609142252828395)),
        B0=((1.3371632704399763,), (1.442371048468624, 1.8632741501139225)),
        alpha=(0.2889874966892885, 0.6859880440839937, 0.025024459226717772),
        beta1=(-16.792534242221663, 17.514995785380226, 0.27753845684143835),
        beta2=(0.4237535769069274, 0.6010381474428539, -1.0247917243497813),
    )
