// Command bench_go is the Go side of `make bench`: it runs one repetition of
// one benchmark and prints one line of JSON, which bench/run.py reads.
//
//	bench_go NAME [-procs P]
//	bench_go -list
//
// Its twin is bench/c; both do the same observable work, so that both print the
// same checksum. What one operation is stands in bench/README.md.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"time"
)

// A bench is one row: run does the work once and returns the measured value, in
// unit, and what the work computed.
type bench struct {
	name string
	unit string
	run  func() (value float64, checksum uint64)
}

// One slice per table of the README; each stands at the end of its file.
var tables = [][]bench{schedBenches, chanBenches, syncBenches, timerBenches, stackBenches, preemptBenches, smallBenches}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "-list" {
		for _, table := range tables {
			for _, b := range table {
				fmt.Println(b.name)
			}
		}
		return
	}
	if len(os.Args) == 4 && os.Args[2] == "-procs" {
		procs, err := strconv.Atoi(os.Args[3])
		if err != nil || procs < 1 {
			fail("bad -procs %q", os.Args[3])
		}
		runtime.GOMAXPROCS(procs)
	} else if len(os.Args) != 2 {
		fail("usage: bench_go NAME [-procs P]")
	}
	b := find(os.Args[1])
	value, checksum := b.run()
	json.NewEncoder(os.Stdout).Encode(struct {
		Name     string  `json:"name"`
		Procs    int     `json:"procs"`
		Unit     string  `json:"unit"`
		Value    float64 `json:"value"`
		Checksum string  `json:"checksum"`
	}{b.name, runtime.GOMAXPROCS(0), b.unit, value, strconv.FormatUint(checksum, 10)})
}

func find(name string) bench {
	for _, table := range tables {
		i := slices.IndexFunc(table, func(b bench) bool { return b.name == name })
		if i >= 0 {
			return table[i]
		}
	}
	fail("no benchmark %q", name)
	panic("unreachable")
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench_go: "+format+"\n", args...)
	os.Exit(1)
}

// nsPer and ms turn the time since start into the two units of a cost.
func nsPer(start time.Time, ops int) float64 {
	return float64(time.Since(start)) / float64(ops)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// percentile of lateness, in ms; it sorts its argument.
func percentile(late []time.Duration, percent float64) float64 {
	slices.Sort(late)
	return ms(late[int(float64(len(late))*percent/100)])
}

// rng is the same in both programs: deadlines must not depend on the library.
type rng uint64

func (r *rng) next() uint64 {
	*r = *r*6364136223846793005 + 1442695040888963407
	return uint64(*r >> 33)
}
