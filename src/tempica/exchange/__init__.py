"""Files of other programs: RELION's STAR tables and MRC stacks, trajectories through MDTraj.

Their tables and headers are read and written here rather than by `starfile` and `mrcfile`: the first would bring
pandas and pyarrow, neither writes a stack piece by piece, and a mistake is to be told with its line. The benchmark
interop.py reads our files with both, and with cryoDRGN.
"""
