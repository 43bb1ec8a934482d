"""Distances on an ellipsoid by Vincenty's iteration, one pair of points at a time."""

from math import atan, atan2, cos, radians, sin, sqrt, tan


def vincenty_m(lon1, lat1, lon2, lat2, semi_major, inverse_flattening):
    """Geodesic distance [m] (Vincenty 1975, Survey Review 23, 88); fails near antipodes."""
    f = 1.0 / inverse_flattening
    semi_minor = semi_major * (1.0 - f)
    u1, u2 = (atan((1.0 - f) * tan(radians(lat))) for lat in (lat1, lat2))
    difference = radians((lon2 - lon1 + 180.0) % 360.0 - 180.0)
    angle = difference
    for _ in range(200):
        sine = sqrt(
            (cos(u2) * sin(angle)) ** 2 + (cos(u1) * sin(u2) - sin(u1) * cos(u2) * cos(angle)) ** 2
        )
        if sine == 0.0:
            return 0.0
        cosine = sin(u1) * sin(u2) + cos(u1) * cos(u2) * cos(angle)
        arc = atan2(sine, cosine)
        azimuth = cos(u1) * cos(u2) * sin(angle) / sine
        squared = 1.0 - azimuth**2
        middle = cosine - 2.0 * sin(u1) * sin(u2) / squared if squared > 0.0 else 0.0
        c = f / 16.0 * squared * (4.0 + f * (4.0 - 3.0 * squared))
        before = angle
        angle = difference + (1.0 - c) * f * azimuth * (
            arc + c * sine * (middle + c * cosine * (2.0 * middle**2 - 1.0))
        )
        if abs(angle - before) < 1e-14:
            break
    u = squared * (semi_major**2 - semi_minor**2) / semi_minor**2
    a = 1.0 + u / 16384.0 * (4096.0 + u * (-768.0 + u * (320.0 - 175.0 * u)))
    b = u / 1024.0 * (256.0 + u * (-128.0 + u * (74.0 - 47.0 * u)))
    inner = cosine * (2.0 * middle**2 - 1.0) - b / 6.0 * middle * (4.0 * sine**2 - 3.0) * (
        4.0 * middle**2 - 3.0
    )
    return semi_minor * a * (arc - b * sine * (middle + b / 4.0 * inner))
