"""JSON without the module `json` is the same as with it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocli.json_coding import compact_json, parse_json, readable_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
TEXTS = [
    *("", " ", "{", "[1,]", '{"a" 1}', '"\n"', "tru", "01", "1 2", "\ufeff1", "nan", "'a'", "-"),
    *(' {"a": 1}\n', "\t[ ]", '"\\ud800"', "1e400", "NaN", "[Infinity, -Infinity]", '{"a": 1, "a": 2}', "9" * 30),
]


@given(VALUES)
def test_values_are_encoded_and_parsed_as_by_json(value: Any) -> None:
    """Both encodings are the same texts as those of `json`, and are parsed to the same value."""
    assert json.dumps(value, separators=(",", ":"), allow_nan=False) == compact_json(value)
    assert json.dumps(value, ensure_ascii=False) == readable_json(value)
    assert value == parse_json(compact_json(value)) == parse_json(readable_json(value))


@given(st.text("[]{}\",:0123456789.eE+-truefalsn \n\\u'") | st.sampled_from(TEXTS))
def test_any_text_is_parsed_as_by_json(text: str) -> None:
    """Parsing gives the same value, or raises the same error."""
    assert _outcome(json.loads, text) == _outcome(parse_json, text)


def _outcome(parse: Any, text: str) -> tuple[type, str]:
    try:
        value = parse(text)
    except ValueError as error:
        return type(error), str(error)
    return type(value), repr(value)


@pytest.mark.parametrize("text", ["{", '{"a"', '"a', "[1,", "nul", '"\\u12"', '{"a" 1}'])
def test_malformed_text_is_refused_before_json_is_imported(text: str) -> None:
    """The first malformed text of a process raises the error of `json`, too."""
    program = "import sys; from geocli.json_coding import parse_json; assert 'json' not in sys.modules; "
    program += "\ntry: parse_json(sys.argv[1])\nexcept ValueError as error: print(type(error).__name__, end='')"

    output = subprocess.run([sys.executable, "-S", "-c", program, text], capture_output=True, check=True).stdout
    assert output == b"JSONDecodeError"


@pytest.mark.parametrize("value", [{"a": {1, 2}}, {(1, 2): 3}])
def test_values_without_json_are_refused(value: Any) -> None:
    """The error is that of `json`."""
    with pytest.raises(TypeError) as expected:
        json.dumps(value)
    with pytest.raises(TypeError) as actual:
        compact_json(value)

    assert str(expected.value) == str(actual.value)


@pytest.mark.parametrize("number", ["nan", "inf"])
def test_only_the_readable_form_has_numbers_that_json_lacks(number: str) -> None:
    """The journal never contains NaN or Infinity."""
    assert json.dumps(float(number)) == readable_json(float(number))
    with pytest.raises(ValueError, match="not JSON compliant"):
        compact_json([float(number)])


@pytest.mark.parametrize(
    "missing",
    ["", "sys.modules['_json'] = None", "import _json; del _json.make_scanner", "sys.gettotalrefcount = int"],
    ids=["none", "module", "function", "debug"],
)
def test_a_python_without_the_functions_in_c_gives_the_same(missing: str) -> None:
    """Where CPython's private functions are missing, or would abort in a debug build, `json` is imported."""
    check = "print(compact_json(['é', 1]), ascii(readable_json({'é': 1})), parse_json('[1]'), 'json' in sys.modules)"
    program = f"import sys\n{missing}\nfrom geocli.json_coding import compact_json, parse_json, readable_json\n{check}"
    run = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True)

    assert f"""["\\u00e9",1] '{{"\\xe9": 1}}' [1] {bool(missing)}\n""" == run.stdout
