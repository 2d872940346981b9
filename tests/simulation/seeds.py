"""The seeds that the gate lives through."""

# Enough for each of `mistakes.py` to be seen by some of them, and as few as the gate has time for; a seed that once
# found a fault joins them.
SEEDS = [
    *range(1, 201), 207, 222, 227, 233, 244, 245, 249, 258, 261, 262, 268, 280, 295, 316, 325, 326, 328, 347,
    372, 384, 393, 399, 417, 421, 433, 486, 506, 508, 522, 609, 640, 702, 713, 734, 745, 778, 780, 806, 817, 894,
    903, 943, 1012, 1022, 1131, 1190, 1210, 1221, 1258, 1282, 1336, 1848, 2182, 2211, 2732, 2911, 3070, 3171,
    3936, 4296, 5246, 6601, 7647, 13366, 15867, 101867,
]  # fmt: skip
