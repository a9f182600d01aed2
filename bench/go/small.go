package main

import (
	"sync"
	"time"
)

const frames = 1_000_000

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

var smallBenches = []bench{
	{"recurse_first", "ns", recurseFirst},
	{"recurse_again", "ns", recurseAgain},
	{"spawn_100_frames", "ns", spawn100Frames},
}
