"""Every number that was found by measuring: what is too small to be worth it, how large a block is.

Each stands with its unit and its reason. They were measured on an AVX-512 machine with 48 KB of L1
and 2 MB of L2 cache to a core; another would put some of them elsewhere by a factor of two, which
costs it a few percent. They are the same everywhere all the same: most decide how a sum is cut into
parts, and so its last bits, and a result should not depend on the size of a cache.

The compiled loops hold some of these as constants: `compiler` compiles them anew when this file
has changed.
"""

# -- What is too small for compiled loops, or for a second core ------------------------------------

# Elements. A NumPy expression over fewer is as fast as a compiled loop with the Python before it.
SMALL_LOOP = 1 << 12

# Multiplications, m * n * k. NumPy's own product of smaller matrices is as fast as ours, and stays
# on one thread. In a stack ours is ahead from half of that on, since each core does some of them.
SMALL_PRODUCT = 1 << 18

# Terms of a sum of float32 that are added one after another: its error grows with their number.
SUMMED = 1 << 13

# Elements. What one core does in 10 us; another that watches for work takes 1 us to begin, and to
# wake one that sleeps takes 30 us.
SHARED = 1 << 16

# Elements of a NumPy expression that one core does alone. Several run it in Python, and wait for
# each other: a mask times 128 x 1024 numbers took 70 us with two, and takes 14 us with one.
EXPRESSION = 1 << 18

# Seconds after which a worker who finds nothing to do sleeps. Within a millisecond, a training step
# comes to its next loop.
PATIENCE = 1e-3

# Seconds of waiting for the last worker to leave a loop, and what part of its whole time they are:
# after more of both, so many loops are not shared out.
LONG_WAIT, MOST_WAITING, LOOPS_ALONE = 5e-4, 0.5, 30

# Elements. Above, each core's share is cut into eight parts and not two: the last to finish is
# waited for less, and each part is still long beside the tenth of a microsecond it takes to get.
SHARED_FINELY = 8 * SHARED

# Multiplications of a product that take as long as one element of a loop over memory: what a
# product counts as, compared with SHARED.
MULTIPLICATIONS_PER_ELEMENT = 16

# -- Blocks that stay in a cache -------------------------------------------------------------------

# Rows of B (values of k) that are multiplied at a time. A panel of KC rows is 32 KB where a tile is
# 32 floats wide: it stays in the cache nearest to the core while every row of A passes by.
KC = 256

# Rows of A, and columns of B, that are multiplied at a time: of both, KC times as many numbers lie
# in the L2 cache meanwhile (512 KB and 256 KB of float32).
MC = 512
NC = 256

# Bytes. What a product reads in steps of a multiple of these falls on few lines of the nearest
# cache, and is packed; A and B are read in place otherwise, which is 3 to 15 % faster.
ALIASED = 1 << 11

# Elements that an elementwise NumPy expression takes at a time. What it makes on the way (a few
# arrays of 256 KB) stays in the L2 cache.
ELEMENTWISE_BLOCK = 1 << 16

# Bytes of padded images that a convolution multiplies at a time: they stay in the L2 cache, beside
# the filters.
PADDED_GROUP = 1 << 18

# -- Partial sums, whose number may not depend on the cores ----------------------------------------

# Partial sums for each column of a table, each over its share of the rows.
COLUMN_SUMS = 16

# Partial sums of a filter's gradient, each over its share of the images. Each is as large as the
# filter, so these are fewer.
FILTER_SUMS = 8

# -- Which way a convolution goes ------------------------------------------------------------------

# Multiplications that take as long as one addition to a scattered place: what col2im costs, where a
# transposed convolution weighs a product with col2im after it against one with emptier tiles.
SCATTERED_ADDITION = 150

# How many times fewer multiplications it must take through the Fourier transform: four products in
# the place of one are smaller each, and pass their results through memory.
FOURIER_GAIN = 2

# -- Memory that is used again ---------------------------------------------------------------------

# Bytes. Smaller arrays are NumPy's: malloc finds them without asking the system.
POOLED = 1 << 18

# Bytes. From here on in pages of 2 MB, as NumPy's own arrays: one page fault where there were 512.
HUGE_PAGES = 1 << 22

# Bytes that may always lie idle, however little was in use.
SPARE = 1 << 25

# Seconds that idle memory waits to be asked for, before it goes back to the system.
IDLE_SECONDS = 10.0

# Bytes of results that a function with a table of them keeps.
TABLE_BYTES = 1 << 25
