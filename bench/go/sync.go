package main

import (
	"sync"
	"time"
)

func mutexFree() (float64, uint64) {
	const ops = 120_000_000
	var mu sync.Mutex
	count := uint64(0)
	start := time.Now()
	for range ops {
		mu.Lock()
		count++
		mu.Unlock()
	}
	return nsPer(start, ops), count
}

// together runs body in that many goroutines and returns the ns per operation,
// of which each of them does its share.
func together(goroutines, ops int, body func(ops int)) float64 {
	var wg sync.WaitGroup
	wg.Add(goroutines)
	start := time.Now()
	for range goroutines {
		go func() {
			body(ops / goroutines)
			wg.Done()
		}()
	}
	wg.Wait()
	return nsPer(start, ops)
}

func mutex8() (float64, uint64) {
	var mu sync.Mutex
	count := uint64(0)
	value := together(8, 48_000_000, func(ops int) {
		for range ops {
			mu.Lock()
			count++
			mu.Unlock()
		}
	})
	return value, count
}

func rwmutex8() (float64, uint64) {
	var mu sync.RWMutex
	writes, misread := uint64(0), uint64(0)
	value := together(8, 96_000_000, func(ops int) {
		seen, wrong := uint64(0), uint64(0)
		for i := range ops {
			if i%100 == 0 {
				mu.Lock()
				writes++
				mu.Unlock()
			} else {
				mu.RLock()
				now := writes
				mu.RUnlock()
				// What a reader sees never goes back.
				if now < seen {
					wrong++
				}
				seen = now
			}
		}
		mu.Lock()
		misread += wrong
		mu.Unlock()
	})
	return value, writes + misread
}

// Two goroutines on one waitgroup: at GOMAXPROCS=2 they contend for its word.
func waitgroup() (float64, uint64) {
	const ops = 48_000_000
	var wg sync.WaitGroup
	value := together(2, ops, func(ops int) {
		for range ops {
			wg.Add(1)
			wg.Done()
		}
	})
	wg.Wait()
	return value, ops
}

var syncBenches = []bench{
	{"mutex_free", "ns", mutexFree},
	{"mutex_8", "ns", mutex8},
	{"rwmutex_8", "ns", rwmutex8},
	{"waitgroup", "ns", waitgroup},
}
