package main

import (
	"sync"
	"time"
)

// after is a deadline between one and two hours away: none fires.
func (r *rng) after() time.Duration {
	return time.Hour + time.Duration(r.next()%3600)*time.Second
}

func timerNewStop() (float64, uint64) {
	const ops = 3_000_000
	stopped := uint64(0)
	start := time.Now()
	for range ops {
		if time.NewTimer(time.Hour).Stop() {
			stopped++
		}
	}
	return nsPer(start, ops), stopped
}

// AfterFunc, because since Go 1.23 a timer with a channel is not in the heap
// until somebody waits for it: a million of those would not be live.
func timers1m() (create, stop float64, stopped uint64) {
	const live = 1_000_000
	timers := make([]*time.Timer, live)
	r := rng(1)
	fire := func() {}
	start := time.Now()
	for i := range timers {
		timers[i] = time.AfterFunc(r.after(), fire)
	}
	create = nsPer(start, live)
	start = time.Now()
	for _, t := range timers {
		if t.Stop() {
			stopped++
		}
	}
	return create, nsPer(start, live), stopped
}

func timers1mCreate() (float64, uint64) {
	create, _, stopped := timers1m()
	return create, stopped
}

func timers1mStop() (float64, uint64) {
	_, stop, stopped := timers1m()
	return stop, stopped
}

// The checksum counts the sleeps that did not end early.
func sleep1ms() (float64, uint64) {
	const sleeps = 400
	late := make([]time.Duration, sleeps)
	for i := range late {
		start := time.Now()
		time.Sleep(time.Millisecond)
		late[i] = time.Since(start) - time.Millisecond
	}
	return percentile(late, 50), notEarly(late)
}

func sleeps100k() (float64, uint64) {
	const sleeps = 100_000
	late := make([]time.Duration, sleeps)
	var wg sync.WaitGroup
	wg.Add(sleeps)
	r := rng(1)
	for i := range late {
		d := time.Duration(1+r.next()%100) * time.Millisecond
		go func() {
			start := time.Now()
			time.Sleep(d)
			late[i] = time.Since(start) - d
			wg.Done()
		}()
	}
	wg.Wait()
	return percentile(late, 99), notEarly(late)
}

func notEarly(late []time.Duration) (n uint64) {
	for _, d := range late {
		if d >= 0 {
			n++
		}
	}
	return n
}

var timerBenches = []bench{
	{"timer_new_stop", "ns", timerNewStop},
	{"timers_1m_create", "ns", timers1mCreate},
	{"timers_1m_stop", "ns", timers1mStop},
	{"sleep_1ms_late_p50", "ms", sleep1ms},
	{"sleeps_100k_late_p99", "ms", sleeps100k},
}
