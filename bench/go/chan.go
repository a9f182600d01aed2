package main

import (
	"sync"
	"time"
)

func chanSync() (float64, uint64) {
	const ops = 2_400_000
	there, back := make(chan int), make(chan int)
	go func() {
		for v := range there {
			back <- v + 1
		}
		close(back)
	}()
	sum := uint64(0)
	start := time.Now()
	for i := range ops {
		there <- i
		sum += uint64(<-back)
	}
	value := nsPer(start, ops)
	close(there)
	<-back
	return value, sum
}

func chanBuf(pairs, ops int) (float64, uint64) {
	const capacity = 128
	c := make(chan int, capacity)
	sums := make([]uint64, pairs)
	var producers, consumers sync.WaitGroup
	producers.Add(pairs)
	consumers.Add(pairs)
	start := time.Now()
	for k := range pairs {
		go func() {
			for i := range ops / pairs {
				c <- i
			}
			producers.Done()
		}()
		go func() {
			sum := uint64(0)
			for v := range c {
				sum += uint64(v)
			}
			sums[k] = sum
			consumers.Done()
		}()
	}
	producers.Wait()
	close(c)
	consumers.Wait()
	value := nsPer(start, ops)
	total := uint64(0)
	for _, sum := range sums {
		total += sum
	}
	return value, total
}

func chanBuf1x1() (float64, uint64) { return chanBuf(1, 20_000_000) }
func chanBuf4x4() (float64, uint64) { return chanBuf(4, 16_000_000) }

func select4() (float64, uint64) {
	const feeders, ops = 4, 2_000_000
	var c [feeders]chan int
	for k := range c {
		c[k] = make(chan int)
	}
	start := time.Now()
	for k := range c {
		go func() {
			for i := range ops / feeders {
				c[k] <- i*feeders + k
			}
		}()
	}
	a, b, d, e := c[0], c[1], c[2], c[3]
	sum := uint64(0)
	for range ops {
		var v int
		select {
		case v = <-a:
		case v = <-b:
		case v = <-d:
		case v = <-e:
		}
		sum += uint64(v)
	}
	return nsPer(start, ops), sum
}

func selectDefault() (float64, uint64) {
	const ops = 120_000_000
	c := make(chan int, 1)
	empty := uint64(0)
	start := time.Now()
	for range ops {
		select {
		case <-c:
			return 0, 0
		default:
			empty++
		}
	}
	return nsPer(start, ops), empty
}

// Each node passes the token on until its count runs out; the node where that
// happens is the checksum. The first lap is not timed: it starts the nodes.
func ring10000() (float64, uint64) {
	const nodes, hops = 10_000, 3_000_003
	links := make([]chan int, nodes)
	for i := range links {
		links[i] = make(chan int)
	}
	end := make(chan int)
	for i := range nodes {
		in, out := links[i], links[(i+1)%nodes]
		go func() {
			for token := range in {
				if token == 0 {
					end <- i
				} else {
					out <- token - 1
				}
			}
		}()
	}
	links[0] <- nodes
	<-end
	start := time.Now()
	links[0] <- hops
	last := <-end
	return nsPer(start, hops), uint64(last)
}

func sieveGenerate(out chan<- int) {
	for i := 2; ; i++ {
		out <- i
	}
}

func sieveFilter(in <-chan int, out chan<- int, prime int) {
	for {
		if i := <-in; i%prime != 0 {
			out <- i
		}
	}
}

// The chain is left running: the program ends with the last prime.
func sieve2500() (float64, uint64) {
	const primes = 2500
	start := time.Now()
	in := make(chan int)
	go sieveGenerate(in)
	sum := uint64(0)
	for range primes {
		prime := <-in
		sum += uint64(prime)
		out := make(chan int)
		go sieveFilter(in, out, prime)
		in = out
	}
	return ms(time.Since(start)), sum
}

var chanBenches = []bench{
	{"chan_sync", "ns", chanSync},
	{"chan_buf_1x1", "ns", chanBuf1x1},
	{"chan_buf_4x4", "ns", chanBuf4x4},
	{"select4", "ns", select4},
	{"select_default", "ns", selectDefault},
	{"ring10000", "ns", ring10000},
	{"sieve2500", "ms", sieve2500},
}
