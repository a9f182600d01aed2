module loam/bench

go 1.23
