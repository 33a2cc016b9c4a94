//! Benches of the parts, and measurements of the whole; the figures and the way they are taken are in `README.md`.
