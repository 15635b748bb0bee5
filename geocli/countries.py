"""English names of countries, for sources that only have the code."""

from __future__ import annotations

from functools import cache

_NAMES = """
AD Andorra; AE United Arab Emirates; AF Afghanistan; AG Antigua and Barbuda; AI Anguilla; AL Albania
AM Armenia; AO Angola; AQ Antarctica; AR Argentina; AS American Samoa; AT Austria; AU Australia; AW Aruba
AX Åland Islands; AZ Azerbaijan; BA Bosnia and Herzegovina; BB Barbados; BD Bangladesh; BE Belgium
BF Burkina Faso; BG Bulgaria; BH Bahrain; BI Burundi; BJ Benin; BL St. Barthélemy; BM Bermuda; BN Brunei
BO Bolivia; BQ Caribbean Netherlands; BR Brazil; BS Bahamas; BT Bhutan; BV Bouvet Island; BW Botswana
BY Belarus; BZ Belize; CA Canada; CC Cocos Islands; CD DR Congo; CF Central African Republic
CG Congo Republic; CH Switzerland; CI Ivory Coast; CK Cook Islands; CL Chile; CM Cameroon; CN China
CO Colombia; CR Costa Rica; CU Cuba; CV Cape Verde; CW Curaçao; CX Christmas Island; CY Cyprus; CZ Czechia
DE Germany; DJ Djibouti; DK Denmark; DM Dominica; DO Dominican Republic; DZ Algeria; EC Ecuador; EE Estonia
EG Egypt; EH Western Sahara; ER Eritrea; ES Spain; ET Ethiopia; EU European Union; FI Finland; FJ Fiji
FK Falkland Islands; FM Micronesia; FO Faroe Islands; FR France; GA Gabon; GB United Kingdom; GD Grenada
GE Georgia; GF French Guiana; GG Guernsey; GH Ghana; GI Gibraltar; GL Greenland; GM Gambia; GN Guinea
GP Guadeloupe; GQ Equatorial Guinea; GR Greece; GS South Georgia and South Sandwich Islands; GT Guatemala
GU Guam; GW Guinea-Bissau; GY Guyana; HK Hong Kong; HM Heard and McDonald Islands; HN Honduras; HR Croatia
HT Haiti; HU Hungary; ID Indonesia; IE Ireland; IL Israel; IM Isle of Man; IN India
IO British Indian Ocean Territory; IQ Iraq; IR Iran; IS Iceland; IT Italy; JE Jersey; JM Jamaica; JO Jordan
JP Japan; KE Kenya; KG Kyrgyzstan; KH Cambodia; KI Kiribati; KM Comoros; KN St. Kitts and Nevis
KP North Korea; KR South Korea; KW Kuwait; KY Cayman Islands; KZ Kazakhstan; LA Laos; LB Lebanon
LC St. Lucia; LI Liechtenstein; LK Sri Lanka; LR Liberia; LS Lesotho; LT Lithuania; LU Luxembourg; LV Latvia
LY Libya; MA Morocco; MC Monaco; MD Moldova; ME Montenegro; MF St. Martin; MG Madagascar
MH Marshall Islands; MK North Macedonia; ML Mali; MM Myanmar; MN Mongolia; MO Macao
MP Northern Mariana Islands; MQ Martinique; MR Mauritania; MS Montserrat; MT Malta; MU Mauritius
MV Maldives; MW Malawi; MX Mexico; MY Malaysia; MZ Mozambique; NA Namibia; NC New Caledonia; NE Niger
NF Norfolk Island; NG Nigeria; NI Nicaragua; NL Netherlands; NO Norway; NP Nepal; NR Nauru; NU Niue
NZ New Zealand; OM Oman; PA Panama; PE Peru; PF French Polynesia; PG Papua New Guinea; PH Philippines
PK Pakistan; PL Poland; PM St. Pierre and Miquelon; PN Pitcairn Islands; PR Puerto Rico; PS Palestine
PT Portugal; PW Palau; PY Paraguay; QA Qatar; RE Réunion; RO Romania; RS Serbia; RU Russia; RW Rwanda
SA Saudi Arabia; SB Solomon Islands; SC Seychelles; SD Sudan; SE Sweden; SG Singapore; SH St. Helena
SI Slovenia; SJ Svalbard and Jan Mayen; SK Slovakia; SL Sierra Leone; SM San Marino; SN Senegal; SO Somalia
SR Suriname; SS South Sudan; ST São Tomé and Príncipe; SV El Salvador; SX Sint Maarten; SY Syria
SZ Eswatini; TC Turks and Caicos Islands; TD Chad; TF French Southern Territories; TG Togo; TH Thailand
TJ Tajikistan; TK Tokelau; TL Timor-Leste; TM Turkmenistan; TN Tunisia; TO Tonga; TR Türkiye
TT Trinidad and Tobago; TV Tuvalu; TW Taiwan; TZ Tanzania; UA Ukraine; UG Uganda; UM U.S. Outlying Islands
US United States; UY Uruguay; UZ Uzbekistan; VA Vatican City; VC St. Vincent and Grenadines; VE Venezuela
VG British Virgin Islands; VI U.S. Virgin Islands; VN Vietnam; VU Vanuatu; WF Wallis and Futuna; WS Samoa
XK Kosovo; YE Yemen; YT Mayotte; ZA South Africa; ZM Zambia; ZW Zimbabwe
"""
"""ISO 3166-1 alpha-2 codes, plus XK and EU, which registries also use, with common short names."""

_OTHER_CODES = {"UK": "GB", "EL": "GR", "EN": "GB", "TP": "TL", "ZR": "CD", "BU": "MM"}
"""Codes that people use for a country, or that ISO has withdrawn, and the code that counts."""
_FORMER_CODES = frozenset({"AP", "AN", "CS", "YU", "SU"})
"""Codes without a successor, which registries and old databases use: AP is the Asia-Pacific region."""


@cache
def _names() -> dict[str, str]:
    rows = _NAMES.strip().replace("\n", "; ").split("; ")
    return dict(row.split(" ", 1) for row in rows)


def country_name(code: str | None) -> str | None:
    """Return the English name of an ISO 3166-1 alpha-2 code, None for an unknown code.

    >>> country_name("NL"), country_name("ZZ")
    ('Netherlands', None)
    """
    return None if code is None else _names().get(code)


def check_country_code(text: str) -> str:
    """Return a country code in upper case, or raise ValueError; the message suggests the nearest one.

    >>> check_country_code("nl")
    'NL'
    """
    code = text.upper()
    if code in _names() or code in _FORMER_CODES:
        return code
    nearest = _OTHER_CODES.get(code) or _nearest(text)
    hint = f"did you mean {nearest} ({country_name(nearest)})?" if nearest else "give an ISO 3166-1 code such as NL"
    raise ValueError(f"{text}: not the code of a country; {hint}")


def _nearest(text: str) -> str | None:
    """Return the code of the country whose name is nearest to a string."""
    from difflib import get_close_matches

    codes = {name.lower(): code for code, name in _names().items()}
    return next((codes[name] for name in get_close_matches(text.lower(), codes, n=1, cutoff=0.75)), None)
