"""skysift: sift the sky on the HEALPix sphere.

Importing skysift switches JAX to 64-bit numbers (`jax_enable_x64`): objectives of component
separation are differences of large numbers.
"""

import jax

jax.config.update("jax_enable_x64", True)
