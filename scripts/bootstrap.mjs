// The real bootstrap follows; until then everything is expected to be installed.
process.exitCode = 0
