package main

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const parked = 1_000_000

// footprint is the resident memory and the page tables of this process in
// bytes: what the kernel gave it.
func footprint() int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		fail("%v", err)
	}
	kb := 0
	for _, line := range bytes.Split(status, []byte("\n")) {
		for _, name := range []string{"VmRSS:", "VmPTE:"} {
			if rest, ok := bytes.CutPrefix(line, []byte(name)); ok {
				n, err := strconv.Atoi(string(bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimSpace(rest), []byte("kB")))))
				if err != nil {
					fail("%v", err)
				}
				kb += n
			}
		}
	}
	return kb * 1024
}

// Three calls deep, as code that parks usually is.
//
//go:noinline
func third(c chan int) int { return <-c + 1 }

//go:noinline
func second(c chan int) int { return third(c) + 1 }

//go:noinline
func first(c chan int) int { return second(c) + 1 }

// A crowd is a million goroutines that park on one channel.
type crowd struct {
	gate         chan int
	ended        sync.WaitGroup
	arrived, sum atomic.Int64
}

// park starts all of them and waits until each has come to where it parks; it
// returns the ns of one.
func (c *crowd) park() float64 {
	c.gate = make(chan int)
	c.ended.Add(parked)
	one := func() {
		c.arrived.Add(1)
		c.sum.Add(int64(first(c.gate)))
		c.ended.Done()
	}
	start := time.Now()
	for i := range parked {
		go one()
		if i%256 == 255 {
			runtime.Gosched()
		}
	}
	for c.arrived.Load() < parked {
		runtime.Gosched()
	}
	return nsPer(start, parked)
}

// wake wakes all and waits for their end; it returns the ns of one.
func (c *crowd) wake() float64 {
	start := time.Now()
	close(c.gate)
	c.ended.Wait()
	return nsPer(start, parked)
}

func parkedBytes() (float64, uint64) {
	var c crowd
	before := footprint()
	c.park()
	bytes := footprint() - before
	c.wake()
	return float64(bytes) / parked, uint64(c.sum.Load())
}

func parkedCreate() (float64, uint64) {
	var c crowd
	ns := c.park()
	c.wake()
	return ns, uint64(c.sum.Load())
}

func parkedWake() (float64, uint64) {
	var c crowd
	c.park()
	ns := c.wake()
	return ns, uint64(c.sum.Load())
}

var stackBenches = []bench{
	{"parked_bytes_slots", "B", parkedBytes},
	{"parked_create_slots", "ns", parkedCreate},
	{"parked_wake_slots", "ns", parkedWake},
	{"parked_bytes_small", "B", parkedBytes},
	{"parked_create_small", "ns", parkedCreate},
	{"parked_wake", "ns", parkedWake},
}
