"""Names for the two sides of a comparison."""

from __future__ import annotations

from gpubench.report.comparison import setting_text
from gpubench.spec.spec import Spec

# The value of these settings says what it is: "compile", not "runtime compile".
_CLEAR = frozenset({"model", "runtime", "precision", "memory_format", "device"})
_MOST_SETTINGS = 2
_LONGEST = 40  # characters


def side_names(a: Spec, b: Spec, asked_a: Spec, asked_b: Spec) -> tuple[str, str]:
    """The values of the settings that differ, such as 'compile' and 'torchscript'.

    `asked_a` and `asked_b` are what a person wrote, `a` and `b` have all defaults filled in. Only
    the settings that a person wrote differently are named. 'A' and 'B' if nothing differs, or if
    the names would be long.
    """
    values_a, values_b = a.measured_settings(), b.measured_settings()
    written_a, written_b = asked_a.measured_settings(), asked_b.measured_settings()
    settings = [
        name
        for name in values_a
        if values_a[name] != values_b[name] and written_a[name] != written_b[name]
    ]
    names = [
        " ".join(_text(name, values[name]) for name in settings) for values in (values_a, values_b)
    ]
    if not 1 <= len(settings) <= _MOST_SETTINGS or max(map(len, names)) > _LONGEST:
        return "A", "B"
    return names[0], names[1]


def _text(setting: str, value: str | float | bool | None) -> str:
    text = setting_text(setting, value)
    return text if setting in _CLEAR else f"{setting.replace('_', ' ')} {text}"
