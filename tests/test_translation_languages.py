"""Language codes: checked, with suggestions, and what models call them."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmstream.core import MmstreamError
from mmstream.translation.engine import TranslationError
from mmstream.translation.languages import checked, checked_list, flores, listed, name, primary, read


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("de", "de"),
        ("DE", "de"),
        (" fr ", "fr"),
        ("pt_br", "pt-BR"),
        ("zh-hant-tw", "zh-Hant-TW"),
        ("es-419", "es-419"),
    ],
)
def test_a_code_in_its_usual_spelling(written, code):
    assert checked(written) == code


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("deu", "there is no language 'deu'; did you mean 'de'?; codes are those of BCP 47, such as de, fr, pt-BR"),
        ("eng_Latn", "there is no language 'eng_Latn'; did you mean 'en'?"),
        ("german", "'german' is no language code; write de"),
        ("German", "'German' is no language code; write de"),
        ("xx", "there is no language 'xx'; codes are those of BCP 47"),
        ("", "there is no language ''"),
        ("de-", "'de-' is no language code; write for example de"),
        ("pt-Brazil", "'pt-Brazil' is no language code; write for example pt"),
        ("d\ne", "there is no language 'd\\ne'"),
    ],
)
def test_what_is_no_code(written, said):
    with pytest.raises(TranslationError) as caught:
        checked(written)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_a_list_of_codes_names_each_once():
    assert checked_list("de, FR,de") == ["de", "fr"]
    assert checked_list("pt,pt-br") == ["pt", "pt-BR"]
    for empty in ("", " , "):
        with pytest.raises(TranslationError, match="names no language; write for example de,fr"):
            checked_list(empty)
    with pytest.raises(TranslationError, match="'frr'; did you mean 'fr'"):
        checked_list("de,frr")


def test_names_for_people_and_for_models():
    assert (name("de"), name("pt-BR"), name("qqq")) == ("German", "Portuguese", "qqq")
    assert listed(["de", "fr"]) == "de (German), fr (French)"
    assert (flores("de"), flores("zh"), flores("zh-Hant"), flores("zh-TW")) == (
        "deu_Latn", "zho_Hans", "zho_Hant", "zho_Hant",
    )  # fmt: skip
    assert flores("br") is None
    assert (primary("pt-BR"), primary("zh_Hant")) == ("pt", "zh")


@pytest.mark.parametrize(
    ("theirs", "code"),
    [("fra", "fr"), ("deu", "de"), ("cmn_Hans", "zh"), ("pt_br", "pt"), ("eng", "en"), ("ROMANCE", None), ("", None)],
)
def test_what_models_call_a_language(theirs, code):
    assert read(theirs) == code


@given(st.text(st.sampled_from(string.ascii_letters + "-_ ,é\n"), max_size=12))
def test_any_text_is_a_code_or_one_line(text):
    try:
        code = checked(text)
    except MmstreamError as error:
        told = str(error)
    else:
        told = name(code)
        assert checked(code) == code
        assert told != code
    assert "\n" not in told
