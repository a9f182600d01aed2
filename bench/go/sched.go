package main

import (
	"runtime"
	"sync"
	"time"
)

// The function value is made once: `go done()` then allocates nothing per
// goroutine, which is the cheapest way that Go has.
func spawn() (float64, uint64) {
	const batch, batches = 1000, 3000
	var wg sync.WaitGroup
	done := func() { wg.Done() }
	start := time.Now()
	joined := uint64(0)
	for range batches {
		wg.Add(batch)
		for range batch {
			go done()
		}
		wg.Wait()
		joined += batch
	}
	// Per batch, because a peer that is 50 times slower runs fewer of them.
	return nsPer(start, batch*batches), joined / batches
}

func spawnOne() (float64, uint64) {
	const ops = 2_000_000
	var wg sync.WaitGroup
	done := func() { wg.Done() }
	start := time.Now()
	for range ops {
		wg.Add(1)
		go done()
		wg.Wait()
	}
	return nsPer(start, ops), ops
}

func yieldAmong(goroutines, ops int) (float64, uint64) {
	var wg sync.WaitGroup
	yields := make([]int, goroutines)
	wg.Add(goroutines)
	start := time.Now()
	for i := range goroutines {
		go func() {
			n := 0
			for range ops / goroutines {
				runtime.Gosched()
				n++
			}
			yields[i] = n
			wg.Done()
		}()
	}
	wg.Wait()
	value := nsPer(start, ops)
	sum := uint64(0)
	for _, n := range yields {
		sum += uint64(n)
	}
	return value, sum
}

func yield2() (float64, uint64)    { return yieldAmong(2, 10_000_000) }
func yield1000() (float64, uint64) { return yieldAmong(1000, 8_000_000) }

func fibPlain(n int) uint64 {
	if n < 2 {
		return uint64(n)
	}
	return fibPlain(n-1) + fibPlain(n-2)
}

// One goroutine per call above the cutoff: the caller computes the other half
// itself, as anybody would who writes fork and join by hand.
func fibFork(n int) uint64 {
	const cutoff = 10
	if n <= cutoff {
		return fibPlain(n)
	}
	var wg sync.WaitGroup
	var left uint64
	wg.Add(1)
	go func() {
		left = fibFork(n - 1)
		wg.Done()
	}()
	right := fibFork(n - 2)
	wg.Wait()
	return left + right
}

func fib35() (float64, uint64) {
	const times = 4
	start := time.Now()
	sum := uint64(0)
	for range times {
		sum += fibFork(35)
	}
	return ms(time.Since(start)) / times, sum
}

var schedBenches = []bench{
	{"spawn", "ns", spawn},
	{"spawn_one", "ns", spawnOne},
	{"yield2", "ns", yield2},
	{"yield1000", "ns", yield1000},
	{"fib35_cutoff10", "ms", fib35},
}
