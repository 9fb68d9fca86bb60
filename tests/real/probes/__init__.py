"""HTTP by hand: what real-part tests send and read byte by byte."""
