package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const frames, goroutines = 1_000_000, 1_000_000

// A frame of 100 bytes, with the return address and the frame pointer.
//
//go:noinline
func recurse(n int) int {
	var some [72]byte
	keep(&some)
	if n == 0 {
		return 0
	}
	return recurse(n-1) + int(some[0])
}

//go:noinline
func keep(b *[72]byte) { b[0] = 1 }

func recurseRounds(rounds int) (float64, uint64) {
	var value float64
	var sum uint64
	done := make(chan bool)
	go func() {
		for range rounds {
			start := time.Now()
			sum += uint64(recurse(frames))
			value = nsPer(start, frames)
		}
		done <- true
	}()
	<-done
	return value, sum
}

func recurseFirst() (float64, uint64) { return recurseRounds(1) }
func recurseAgain() (float64, uint64) { return recurseRounds(2) }

func spawn100Frames() (float64, uint64) {
	const batch, batches = 100, 2000
	var wg sync.WaitGroup
	f := func() {
		if recurse(100) != 100 {
			fail("recursion")
		}
		wg.Done()
	}
	start := time.Now()
	for range batches {
		wg.Add(batch)
		for range batch {
			go f()
		}
		wg.Wait()
	}
	return nsPer(start, batch*batches), batch * batches
}

//go:noinline
func three(gate chan int) int { return <-gate + 1 }

//go:noinline
func two(gate chan int) int { return three(gate) + 1 }

//go:noinline
func one(gate chan int) int { return two(gate) + 1 }

// memory is what is resident, and page tables.
func memory() float64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		fail("%v", err)
	}
	sum := 0
	for line := range strings.Lines(string(text)) {
		var kb int
		if n, _ := fmt.Sscanf(line, "VmRSS: %d", &kb); n == 1 {
			sum += kb
		} else if n, _ := fmt.Sscanf(line, "VmPTE: %d", &kb); n == 1 {
			sum += kb
		}
	}
	return float64(sum) * 1024
}

func parkAll() (ns, bytes float64) {
	gate := make(chan int)
	var wg sync.WaitGroup
	var arrived atomic.Int64
	wg.Add(goroutines)
	f := func() {
		arrived.Add(1)
		if one(gate) != 3 {
			fail("a closed channel's value")
		}
		wg.Done()
	}
	before := memory()
	start := time.Now()
	for i := range goroutines {
		go f()
		if i%1000 == 999 {
			runtime.Gosched()
		}
	}
	for arrived.Load() < goroutines {
		runtime.Gosched()
	}
	ns = nsPer(start, goroutines)
	bytes = (memory() - before) / goroutines
	close(gate)
	wg.Wait()
	return ns, bytes
}

func parkedCreate() (float64, uint64) { ns, _ := parkAll(); return ns, goroutines }
func parkedBytes() (float64, uint64)  { _, b := parkAll(); return b, goroutines }

var smallBenches = []bench{
	{"recurse_first", "ns", recurseFirst},
	{"recurse_again", "ns", recurseAgain},
	{"spawn_100_frames", "ns", spawn100Frames},
	{"parked_create_small", "ns", parkedCreate},
	{"parked_bytes_small", "B", parkedBytes},
}
