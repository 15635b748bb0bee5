"""A world map in characters, with marks on countries."""

from __future__ import annotations

from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_LAND = """
                                ######   # #########
                            ##########################          ###                        ##
                     ##     ######   ################                                        ####
                  ##### # ### ####       ############                         #        ############# ##
      #######   #### ##### ##########     ###########             #####       #   ################################   ##
 ################################################################        ###        #
    ############################# #####   #####     ####       #### ###################################################
     ########################     ##        ##                #### ###################################################
       ##     ###############     #####                       ####  #######################################      #
                ################  ######                  ##   ##  #######################################      ##
                 ################ #######                # # ###############################################    #
                  #####################  #                 #################################################
                   ####################                    ###############################################
                   ##################                    #############   ### ############################  #
                   #################                     ###     ############ #########################
                   ################                      ###       # ######## ######################  #   #
                    ##############                        ######        ############################    ##
                     ############                        ######### ## ###############################
                      ######    #                       #################### ########################
                        ####                           ######################  #####################
                         ###                          ################## #######   ###############
                         ###  #     #                 #########################     #####  ####
                           ####                       ################### ####      ###     ####    #
                              ##                      ######################         ##      ###
                               #   ####                ######################        ##        #
                                  #######               #####################                #       #
                                  #########              #    ##############                ###   #
                                  #########                    ############                  ##  ##
                                 ############                  ###########                   ##  ## #   #
                                 ###############                #########                     #          ###
                                 ###############                #########                        #        ###
                                  ##############                #########
                                  #############                 ##########  #                          ##  #
                                   ############                 #########  ##                        ##### ##
                                    ###########                 ########   #                        #########
                                    ##########                   #######  ##                      ############
                                    ########                     ######                           #############
                                    ########                     ######                           #############
                                    #######                       ####                            #############
                                    ######                        #                                #     #####
                                   ######                                                                  ###        #
                                   ####                                                                               #
                                   ###                                                                              ##
                                   ###                                                                              #
                                   ##
                                   ##


"""
"""Cells of 3 by 3 degrees that are mostly land: from 84 N to 60 S, and from 180 W to 180 E."""
_CENTRES = """
AD 43 2; AE 24 54; AF 34 66; AG 17 -62; AI 18 -63; AL 41 20; AM 40 45; AO -12 18; AQ -77 31; AR -35 -65; AS -14 -171
AT 48 14; AU -26 134; AW 13 -70; AX 60 20; AZ 40 48; BA 44 18; BB 13 -60; BD 24 90; BE 51 5; BF 12 -2; BG 43 25
BH 26 51; BI -3 30; BJ 10 2; BL 18 -63; BM 32 -65; BN 4 115; BO -17 -65; BQ 12 -68; BR -11 -53; BS 25 -78; BT 27 90
BV -54 3; BW -22 24; BY 54 28; BZ 17 -89; CA 58 -102; CC -12 97; CD -3 24; CF 7 20; CG -1 15; CH 47 8; CI 8 -6
CK -21 -160; CL -36 -71; CM 6 13; CN 37 104; CO 4 -73; CR 10 -84; CU 22 -79; CV 15 -24; CW 12 -69; CX -10 106
CY 35 33; CZ 50 15; DE 51 10; DJ 12 43; DK 56 9; DM 15 -61; DO 19 -71; DZ 28 3; EC -1 -78; EE 59 26; EG 26 30
EH 24 -12; ER 15 39; ES 40 -4; ET 9 40; EU 51 10; FI 65 26; FJ -18 178; FK -52 -59; FM 7 158; FO 62 -7; FR 47 2
GA -1 12; GB 54 -3; GD 12 -62; GE 42 44; GF 4 -53; GG 49 -3; GH 8 -1; GI 36 -5; GL 75 -41; GM 13 -15; GN 10 -11
GP 16 -62; GQ 2 10; GR 39 23; GS -54 -37; GT 16 -90; GU 13 145; GW 12 -15; GY 5 -59; HK 22 114; HM -53 74; HN 15 -87
HR 45 16; HT 19 -73; HU 47 19; ID 0 114; IE 53 -8; IL 31 35; IM 54 -5; IN 23 80; IO -7 72; IQ 33 44; IR 33 54
IS 65 -19; IT 44 12; JE 49 -2; JM 18 -77; JO 31 37; JP 37 138; KE 1 38; KG 41 75; KH 13 105; KI 2 -157; KM -12 43
KN 17 -63; KP 40 127; KR 36 128; KW 29 48; KY 19 -81; KZ 48 67; LA 19 104; LB 34 36; LC 14 -61; LI 47 10; LK 8 81
LR 6 -9; LS -30 28; LT 55 24; LU 50 6; LV 57 25; LY 27 18; MA 30 -8; MC 44 7; MD 47 28; ME 43 19; MF 18 -63; MG -19 47
MH 7 171; MK 42 22; ML 17 -4; MM 21 96; MN 47 103; MO 22 114; MP 15 146; MQ 15 -61; MR 20 -10; MS 17 -62; MT 36 14
MU -20 58; MV 4 74; MW -13 34; MX 24 -103; MY 4 115; MZ -17 36; NA -22 17; NC -21 165; NE 17 9; NF -29 168; NG 10 8
NI 13 -85; NL 52 6; NO 64 14; NP 28 84; NR -1 167; NU -19 -170; NZ -44 171; OM 21 56; PA 9 -80; PE -9 -74; PF -18 -149
PG -7 144; PH 16 121; PK 30 69; PL 52 19; PM 47 -56; PN -24 -128; PR 18 -66; PS 32 35; PT 40 -8; PW 8 135; PY -23 -58
QA 25 51; RE -21 56; RO 46 25; RS 44 21; RU 62 95; RW -2 30; SA 24 45; SB -10 160; SC -5 55; SD 16 30; SE 63 17
SG 1 104; SH -16 -6; SI 46 15; SJ 79 18; SK 49 19; SL 9 -12; SM 44 12; SN 14 -14; SO 5 46; SR 4 -56; SS 7 30; ST 0 7
SV 14 -89; SX 18 -63; SY 35 39; SZ -27 31; TC 22 -72; TD 15 19; TF -49 69; TG 9 1; TH 15 101; TJ 39 71; TK -9 -172
TL -9 126; TM 39 59; TN 34 10; TO -21 -175; TR 39 35; TT 10 -61; TV -9 179; TW 24 121; TZ -6 35; UA 49 31; UG 1 32
UM 19 167; US 40 -99; UY -33 -56; UZ 42 63; VA 42 12; VC 13 -61; VE 7 -66; VG 18 -65; VI 18 -65; VN 16 108; VU -15 167
WF -14 -178; WS -14 -172; XK 43 21; YE 16 48; YT -13 45; ZA -29 25; ZM -13 28; ZW -19 30
"""
"""Centre of the largest part of each country, in integer degrees of latitude and longitude, WGS 84."""
NORTH, SOUTH = 84, -60
COLUMNS = 120
"""Width of `_LAND`, and maximum width of a map; a cell of a terminal is about twice as high as it is wide."""


class Pen(NamedTuple):
    """Characters to draw a map with."""

    halves: Sequence[str]
    """Characters for sea, and for land in the upper half of a cell, the lower one, and both."""
    marks: Sequence[str]
    """Characters for a country with a small, a middle and a large share."""


BLOCKS = Pen(" ▀▄█", "·•●")
ASCII = Pen(" '.:", "-+o")
MIDDLE_SHARE, LARGE_SHARE = 0.01, 0.1
"""Shares from which a country has the second and the third mark."""


def _around(row: int, first: int, text: str) -> set[tuple[int, int]]:
    """Return the cells of a label that must be free, with a blank next to it, so that it belongs to one mark."""
    margin = 0 if len(text) == 1 else 1
    return {(row, column) for column in range(first - margin, first + len(text) + margin)}


def world(shares: Mapping[str, float], width: int, pen: Pen = BLOCKS) -> Iterator[list[tuple[str, bool]]]:
    """Draw the world, with a mark in the centre of each country, and its share next to it where there is room.

    Shares are between 0 and 1, by ISO 3166-1 alpha-2 code; the largest are placed first. The width is that of the
    terminal, in cells. Yields lines in pieces, each with whether it is a mark rather than land or sea.
    """
    columns = min(width, COLUMNS)
    lines = [list(line) for line in _coasts(columns, pen.halves)]
    mark_cells: set[tuple[int, int]] = set()
    shares_on_map = {code: share for code, share in shares.items() if code in centres()}
    for code, share in sorted(shares_on_map.items(), key=lambda item: (-item[1], item[0])):
        row, column = cell(code, columns)
        for first, text in _labels(column, share, pen.marks):
            if 0 <= first <= columns - len(text) and _around(row, first, text).isdisjoint(mark_cells):
                lines[row][first : first + len(text)] = text
                mark_cells |= {(row, first + number) for number in range(len(text))}
                break
    for row, line in enumerate(lines):
        yield list(_pieces(line, [(row, column) in mark_cells for column in range(columns)]))


def cell(code: str, columns: int) -> tuple[int, int]:
    """Return the row and column, from 0, of the centre of a country on a map of a width in columns.

    >>> cell("NZ", 80)
    (14, 78)
    """
    latitude, longitude = centres()[code]
    rows = _rows(columns)
    row = (NORTH - latitude) * rows // (NORTH - SOUTH)
    return min(max(row, 0), rows - 1), (longitude + 180) * columns // 360


def _rows(columns: int) -> int:
    return max(columns * (NORTH - SOUTH) // 360 // 2, 1)


def _labels(column: int, share: float, marks: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Return candidates, as first column and text: the share after the mark, before it, and the mark alone."""
    mark = marks[(share >= MIDDLE_SHARE) + (share >= LARGE_SHARE)]
    percent = f"{share:.0%}" if share >= 0.005 else ""
    yield column, mark + percent
    yield column - len(percent), percent + mark
    yield column, mark


def _pieces(line: Iterable[str], are_marks: Iterable[bool]) -> Iterator[tuple[str, bool]]:
    for is_mark, chars in groupby(zip(line, are_marks, strict=True), itemgetter(1)):
        yield "".join(char for char, _ in chars), is_mark


def _coasts(columns: int, halves: Sequence[str]) -> Iterator[str]:
    land = [line.ljust(COLUMNS) for line in _LAND.split("\n")[1:-1]]
    lines = _rows(columns) * 2
    scaled = [[_is_land(land, (line, lines), (column, columns)) for column in range(columns)] for line in range(lines)]
    for upper, lower in zip(scaled[::2], scaled[1::2], strict=True):
        yield "".join(halves[above + 2 * below] for above, below in zip(upper, lower, strict=True))


def _is_land(land: Sequence[str], line: tuple[int, int], column: tuple[int, int]) -> bool:
    """Return whether at least half of a cell is land; `line` and `column` are pairs of index and count."""
    across = slice(*_span(*column, COLUMNS))
    part = "".join(row[across] for row in land[slice(*_span(*line, len(land)))])
    return part.count("#") * 2 >= len(part)


def _span(number: int, count: int, size: int) -> tuple[int, int]:
    return number * size // count, -(-(number + 1) * size // count)


@cache
def centres() -> dict[str, tuple[int, int]]:
    """Return the latitude and longitude of each country, in degrees."""
    rows = (row.split() for row in _CENTRES.strip().replace("\n", "; ").split("; "))
    return {code: (int(latitude), int(longitude)) for code, latitude, longitude in rows}
