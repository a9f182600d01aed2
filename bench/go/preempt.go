package main

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// tickBesideLoop: ticks that come while nobody receives are dropped, so the
// next one that is received stands for all that were due.
func tickBesideLoop() (float64, uint64) {
	const ticks, period = 20_000, 100 * time.Microsecond
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		for !stop.Load() {
		}
		wg.Done()
	}()
	late := make([]time.Duration, 0, ticks)
	t := time.NewTicker(period)
	start := time.Now()
	for len(late) < ticks {
		<-t.C
		now := time.Since(start)
		for len(late) < ticks {
			due := period * time.Duration(len(late)+1)
			if due > now {
				break
			}
			late = append(late, now-due)
		}
	}
	stop.Store(true)
	wg.Wait()
	t.Stop()
	return percentile(late, 99.9), uint64(len(late))
}

func loopsShare10() (float64, uint64) {
	const loops = 10
	var stop atomic.Bool
	var wg sync.WaitGroup
	var counts [loops]struct {
		n atomic.Uint64
		_ [56]byte
	}
	wg.Add(loops)
	for i := range loops {
		go func() {
			for n := uint64(1); !stop.Load(); n++ {
				counts[i].n.Store(n)
			}
			wg.Done()
		}()
	}
	for i := range loops {
		for counts[i].n.Load() == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	var before [loops]uint64
	for i := range loops {
		before[i] = counts[i].n.Load()
	}
	time.Sleep(2 * time.Second)
	var sum, ran uint64
	for i := range loops {
		before[i] = counts[i].n.Load() - before[i]
		sum += before[i]
	}
	stop.Store(true)
	wg.Wait()
	most := 0.0
	for _, n := range before {
		most = max(most, math.Abs(float64(n)*loops/float64(sum)-1))
		if n > 0 {
			ran++
		}
	}
	return most * 100, ran
}

var preemptBenches = []bench{
	{"tick_beside_loop", "ms", tickBesideLoop},
	{"loops_share10", "%", loopsShare10},
}
