"""Language codes (BCP 47): checked, with suggestions, and with the names that people and models have for them.

The languages are those of M2M-100 (Fan et al., JMLR 2021) and Whisper, and most of NLLB (Costa-jussà et al., Nature
2024), which goes by the code of FLORES-200 that stands beside each.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mmstream.spelling import did_you_mean
from mmstream.translation.engine import TranslationError

# code: name, FLORES-200 code (none where that has no such language)
_LANGUAGES = {
    "af": ("Afrikaans", "afr_Latn"), "ak": ("Akan", "aka_Latn"), "am": ("Amharic", "amh_Ethi"),
    "ar": ("Arabic", "arb_Arab"), "as": ("Assamese", "asm_Beng"), "ast": ("Asturian", "ast_Latn"),
    "awa": ("Awadhi", "awa_Deva"), "ay": ("Aymara", "ayr_Latn"), "az": ("Azerbaijani", "azj_Latn"),
    "ba": ("Bashkir", "bak_Cyrl"), "ban": ("Balinese", "ban_Latn"), "be": ("Belarusian", "bel_Cyrl"),
    "bg": ("Bulgarian", "bul_Cyrl"), "bho": ("Bhojpuri", "bho_Deva"), "bm": ("Bambara", "bam_Latn"),
    "bn": ("Bengali", "ben_Beng"), "bo": ("Tibetan", "bod_Tibt"), "br": ("Breton", ""), "bs": ("Bosnian", "bos_Latn"),
    "ca": ("Catalan", "cat_Latn"), "ceb": ("Cebuano", "ceb_Latn"), "ckb": ("Central Kurdish", "ckb_Arab"),
    "cs": ("Czech", "ces_Latn"), "cy": ("Welsh", "cym_Latn"), "da": ("Danish", "dan_Latn"),
    "de": ("German", "deu_Latn"), "dz": ("Dzongkha", "dzo_Tibt"), "ee": ("Ewe", "ewe_Latn"),
    "el": ("Greek", "ell_Grek"), "en": ("English", "eng_Latn"), "eo": ("Esperanto", "epo_Latn"),
    "es": ("Spanish", "spa_Latn"), "et": ("Estonian", "est_Latn"), "eu": ("Basque", "eus_Latn"),
    "fa": ("Persian", "pes_Arab"), "ff": ("Fulah", "fuv_Latn"), "fi": ("Finnish", "fin_Latn"),
    "fj": ("Fijian", "fij_Latn"), "fo": ("Faroese", "fao_Latn"), "fr": ("French", "fra_Latn"),
    "fur": ("Friulian", "fur_Latn"), "fy": ("Western Frisian", ""), "ga": ("Irish", "gle_Latn"),
    "gd": ("Scottish Gaelic", "gla_Latn"), "gl": ("Galician", "glg_Latn"), "gn": ("Guarani", "grn_Latn"),
    "gu": ("Gujarati", "guj_Gujr"), "ha": ("Hausa", "hau_Latn"), "haw": ("Hawaiian", ""), "he": ("Hebrew", "heb_Hebr"),
    "hi": ("Hindi", "hin_Deva"), "hr": ("Croatian", "hrv_Latn"), "ht": ("Haitian Creole", "hat_Latn"),
    "hu": ("Hungarian", "hun_Latn"), "hy": ("Armenian", "hye_Armn"), "id": ("Indonesian", "ind_Latn"),
    "ig": ("Igbo", "ibo_Latn"), "ilo": ("Iloko", "ilo_Latn"), "is": ("Icelandic", "isl_Latn"),
    "it": ("Italian", "ita_Latn"), "ja": ("Japanese", "jpn_Jpan"), "jv": ("Javanese", "jav_Latn"),
    "ka": ("Georgian", "kat_Geor"), "kab": ("Kabyle", "kab_Latn"), "ki": ("Kikuyu", "kik_Latn"),
    "kk": ("Kazakh", "kaz_Cyrl"), "km": ("Khmer", "khm_Khmr"), "kn": ("Kannada", "kan_Knda"),
    "ko": ("Korean", "kor_Hang"), "ks": ("Kashmiri", "kas_Arab"), "ku": ("Northern Kurdish", "kmr_Latn"),
    "ky": ("Kyrgyz", "kir_Cyrl"), "la": ("Latin", ""), "lb": ("Luxembourgish", "ltz_Latn"), "lg": ("Ganda", "lug_Latn"),
    "li": ("Limburgish", "lim_Latn"), "lij": ("Ligurian", "lij_Latn"), "lmo": ("Lombard", "lmo_Latn"),
    "ln": ("Lingala", "lin_Latn"), "lo": ("Lao", "lao_Laoo"), "lt": ("Lithuanian", "lit_Latn"),
    "lv": ("Latvian", "lvs_Latn"), "mai": ("Maithili", "mai_Deva"), "mg": ("Malagasy", "plt_Latn"),
    "mi": ("Maori", "mri_Latn"), "mk": ("Macedonian", "mkd_Cyrl"), "ml": ("Malayalam", "mal_Mlym"),
    "mn": ("Mongolian", "khk_Cyrl"), "mr": ("Marathi", "mar_Deva"), "ms": ("Malay", "zsm_Latn"),
    "mt": ("Maltese", "mlt_Latn"), "my": ("Burmese", "mya_Mymr"), "nb": ("Norwegian Bokmål", "nob_Latn"),
    "ne": ("Nepali", "npi_Deva"), "nl": ("Dutch", "nld_Latn"), "nn": ("Norwegian Nynorsk", "nno_Latn"),
    "no": ("Norwegian", "nob_Latn"), "ns": ("Northern Sotho", "nso_Latn"), "ny": ("Nyanja", "nya_Latn"),
    "oc": ("Occitan", "oci_Latn"), "om": ("Oromo", "gaz_Latn"), "or": ("Odia", "ory_Orya"),
    "pa": ("Punjabi", "pan_Guru"), "pap": ("Papiamento", "pap_Latn"), "pl": ("Polish", "pol_Latn"),
    "ps": ("Pashto", "pbt_Arab"), "pt": ("Portuguese", "por_Latn"), "qu": ("Quechua", "quy_Latn"),
    "rn": ("Rundi", "run_Latn"), "ro": ("Romanian", "ron_Latn"), "ru": ("Russian", "rus_Cyrl"),
    "rw": ("Kinyarwanda", "kin_Latn"), "sa": ("Sanskrit", "san_Deva"), "sc": ("Sardinian", "srd_Latn"),
    "scn": ("Sicilian", "scn_Latn"), "sd": ("Sindhi", "snd_Arab"), "sg": ("Sango", "sag_Latn"),
    "si": ("Sinhala", "sin_Sinh"), "sk": ("Slovak", "slk_Latn"), "sl": ("Slovenian", "slv_Latn"),
    "sm": ("Samoan", "smo_Latn"), "sn": ("Shona", "sna_Latn"), "so": ("Somali", "som_Latn"),
    "sq": ("Albanian", "als_Latn"), "sr": ("Serbian", "srp_Cyrl"), "ss": ("Swati", "ssw_Latn"),
    "st": ("Southern Sotho", "sot_Latn"), "su": ("Sundanese", "sun_Latn"), "sv": ("Swedish", "swe_Latn"),
    "sw": ("Swahili", "swh_Latn"), "szl": ("Silesian", "szl_Latn"), "ta": ("Tamil", "tam_Taml"),
    "tg": ("Tajik", "tgk_Cyrl"), "th": ("Thai", "tha_Thai"), "ti": ("Tigrinya", "tir_Ethi"),
    "tk": ("Turkmen", "tuk_Latn"), "tl": ("Tagalog", "tgl_Latn"), "tn": ("Tswana", "tsn_Latn"),
    "tr": ("Turkish", "tur_Latn"), "ts": ("Tsonga", "tso_Latn"), "tt": ("Tatar", "tat_Cyrl"), "tw": ("Twi", "twi_Latn"),
    "ug": ("Uyghur", "uig_Arab"), "uk": ("Ukrainian", "ukr_Cyrl"), "ur": ("Urdu", "urd_Arab"),
    "uz": ("Uzbek", "uzn_Latn"), "vec": ("Venetian", "vec_Latn"), "vi": ("Vietnamese", "vie_Latn"),
    "war": ("Waray", "war_Latn"), "wo": ("Wolof", "wol_Latn"), "xh": ("Xhosa", "xho_Latn"),
    "yi": ("Yiddish", "ydd_Hebr"), "yo": ("Yoruba", "yor_Latn"), "yue": ("Cantonese", "yue_Hant"),
    "zh": ("Chinese", "zho_Hans"), "zu": ("Zulu", "zul_Latn"),
}  # fmt: skip
_THREE_LETTERS = {name[:3]: code for code, (_, name) in _LANGUAGES.items() if name} | {
    "ara": "ar", "aze": "az", "cmn": "zh", "est": "et", "fas": "fa", "jap": "ja", "lav": "lv", "mon": "mn", "msa": "ms",
    "nep": "ne", "nor": "no", "ori": "or", "pus": "ps", "sqi": "sq", "yid": "yi", "zsm": "ms",
}  # fmt: skip
_TRADITIONAL = frozenset({"zh-hant", "zh-tw", "zh-hk"})


def checked(text: str) -> str:
    """A code in its usual spelling: ``DE`` -> ``de``, ``pt_br`` -> ``pt-BR``.

    Raises:
        TranslationError: there is no such language; with the nearest.
    """
    parts = text.strip().replace("_", "-").split("-")
    code = parts[0].lower()
    if code not in _LANGUAGES:
        if (meant := read(code)) is not None:
            raise TranslationError(f"there is no language {text.strip()!r}; did you mean {meant!r}?{_USUAL}")
        named = {name.lower(): known for known, (name, _) in _LANGUAGES.items()}
        if text.strip().lower() in named:
            raise TranslationError(f"{text.strip()!r} is no language code; write {named[text.strip().lower()]}")
        raise TranslationError(f"there is no language {text.strip()!r}{did_you_mean(code, _LANGUAGES)}{_USUAL}")
    for part in parts[1:]:
        if not re.fullmatch(r"[A-Za-z]{4}|[A-Za-z]{2}|[0-9]{3}", part):
            raise TranslationError(f"{text.strip()!r} is no language code; write for example {code}")
    return "-".join([code, *(part.title() if len(part) == 4 else part.upper() for part in parts[1:])])


def checked_list(text: str) -> list[str]:
    """The codes that ``text`` names, once each: ``de, FR``.

    Raises:
        TranslationError: one of them is unknown, or there is none.
    """
    codes = list(dict.fromkeys(checked(one) for one in text.split(",") if one.strip()))
    if not codes:
        raise TranslationError(f"{text!r} names no language; write for example de,fr")
    return codes


def name(code: str) -> str:
    """The language's name in English, the code itself where nobody knows it."""
    return _LANGUAGES.get(primary(code), (code, ""))[0]


def primary(code: str) -> str:
    """The language without region or script: ``pt-BR`` -> ``pt``."""
    return code.lower().replace("_", "-").partition("-")[0]


def flores(code: str) -> str | None:
    """The code of FLORES-200; None where that has no such language."""
    if code.lower() in _TRADITIONAL:
        return "zho_Hant"
    return _LANGUAGES.get(primary(code), ("", ""))[1] or None


def read(code: str) -> str | None:
    """The language that a model means by a code of two or three letters, ``fra_Latn`` or ``pt_br``; None: unknown."""
    first = code.lower().replace("_", "-").partition("-")[0]
    return first if first in _LANGUAGES else _THREE_LETTERS.get(first)


def listed(codes: Sequence[str]) -> str:
    """Codes with names, for people: ``de (German), fr (French)``."""
    return ", ".join(f"{code} ({name(code)})" for code in codes)


_USUAL = "; codes are those of BCP 47, such as de, fr, pt-BR"
