package registry

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/cost"
)

const (
	readTimes   = 300
	localTimes  = 200_000
	changeTimes = 100
	perTxn      = 100
)

// fill puts instances into etcd, as either subject would, and returns the names of the services.
func (r *runner) fill(ctx context.Context, prefix string, instances, services int) ([]string, error) {
	var names []string
	for i := range services {
		names = append(names, fmt.Sprintf("service-%03d", i))
	}
	for i := 0; i < instances; {
		var ops []clientv3.Op
		for ; len(ops) < perTxn && i < instances; i++ {
			addr := addrOf(i)
			value := fmt.Sprintf(`{"Op":0,"Addr":%q,"Metadata":{"commit":"4f2a91c"},"Zone":"zone-%d","Version":"1.4.2"}`, addr, i%3)
			ops = append(ops, clientv3.OpPut(target(prefix, names[i%services])+"/"+addr, value))
		}
		if _, err := r.client.Txn(ctx).Then(ops...).Commit(); err != nil {
			return nil, err
		}
	}
	return names, nil
}

func addrOf(i int) string { return fmt.Sprintf("10.%d.%d.%d:8080", i>>16, i>>8&255, i&255) }

// reads measures a look at a service in etcd, and the same in memory.
func (r *runner) reads(ctx context.Context, name string) (err error) {
	r.Say(name + ": reads of a service of 100 instances")
	s, prefix := registries[name], r.place()
	names, err := r.fill(ctx, prefix, 100, 1)
	if err != nil {
		return err
	}
	var asked []time.Duration
	for range readTimes {
		began := time.Now()
		n, err := s.read(ctx, r.client, prefix, names[0])
		if err != nil || n != 100 {
			return errors.Join(fmt.Errorf("bench: %d of 100 instances were read", n), err)
		}
		asked = append(asked, time.Since(began))
	}
	d, err := s.copy(ctx, r.client, prefix, names)
	defer func() { err = errors.Join(err, d.close()) }()
	if err != nil {
		return err
	}
	began := time.Now()
	for range localTimes {
		if n, _, err := d.read(ctx, names[0], ""); err != nil || n != 100 {
			return errors.Join(fmt.Errorf("bench: %d of 100 instances were read from memory", n), err)
		}
	}
	each := time.Since(began) / localTimes
	r.add(bench.Times(Read, name, asked), bench.Row{Measure: Local, Subject: name, Count: localTimes, Median: each})
	return nil
}

// large measures a copy of many services: how long it takes to load, what memory it takes, and what a change does.
func (r *runner) large(ctx context.Context, name string) (err error) {
	r.Say(fmt.Sprintf("%s: %d instances of %d services", name, r.Instances, r.Services))
	s, prefix := registries[name], r.place()
	names, err := r.fill(ctx, prefix, r.Instances, r.Services)
	if err != nil {
		return err
	}
	before := heap()
	began := time.Now()
	d, err := s.copy(ctx, r.client, prefix, names)
	took := time.Since(began)
	defer func() { err = errors.Join(err, d.close()) }()
	if err != nil {
		return err
	}
	for i, service := range names {
		want := r.Instances / r.Services
		if i < r.Instances%r.Services {
			want++
		}
		if n, _, err := d.read(ctx, service, ""); err != nil || n != want {
			return errors.Join(fmt.Errorf("bench: %s has loaded %d of %d instances of %s", name, n, want, service), err)
		}
	}
	takes := float64(heap()-before) / (1 << 20)
	var allocated runtime.MemStats
	runtime.ReadMemStats(&allocated)
	garbage := allocated.TotalAlloc
	var changes []time.Duration
	for i := range changeTimes {
		addr := fmt.Sprintf("192.168.0.%d:80", i+1)
		began := time.Now()
		if _, err := r.client.Put(ctx, target(prefix, names[i%len(names)])+"/"+addr, fmt.Sprintf(`{"Op":0,"Addr":%q}`, addr)); err != nil {
			return err
		}
		for late := time.Now().Add(seenTimeout); ; {
			_, has, err := d.read(ctx, names[i%len(names)], addr)
			if has {
				break
			}
			if err != nil || time.Now().After(late) {
				return errors.Join(fmt.Errorf("bench: %s does not see a change", name), err)
			}
			time.Sleep(50 * time.Microsecond)
		}
		changes = append(changes, time.Since(began))
	}
	runtime.ReadMemStats(&allocated)
	r.add(bench.Row{Measure: FirstLoad, Subject: name, Count: 1, Median: took}, bench.Value(Memory, name, r.Instances, takes, "MiB"), bench.Times(Change, name, changes))
	if name == "fenceline" { // the rival's reads, by which this looks, make more garbage than a change
		r.add(bench.Value(Garbage, name, changeTimes, float64(allocated.TotalAlloc-garbage)/changeTimes/(1<<10), "KiB"))
	}
	return nil
}

// heap is what is in use after a collection. Two, since finalizers and pools keep things over one.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// upkeep counts what a session with many registrations asks of etcd while nothing happens.
func (r *runner) upkeep(ctx context.Context, name string) (err error) {
	r.Say(fmt.Sprintf("%s: %d registrations at rest, for two TTLs", name, r.Registrations))
	var meter cost.Meter
	config := r.Etcd
	config.DialOptions = append(config.DialOptions[:len(config.DialOptions):len(config.DialOptions)], meter.DialOption())
	client, err := clientv3.New(config)
	if err != nil {
		return err
	}
	defer client.Close()
	prefix := r.place()
	p, err := registries[name].process(ctx, client, prefix, r.TTL)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closing(ctx, p)) }()
	for i := range r.Registrations {
		if err := p.register(ctx, fmt.Sprintf("service-%d", i%10), addrOf(i)); err != nil {
			return err
		}
	}
	before := meter.Count()
	select {
	case <-time.After(2 * r.TTL):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	spent := meter.Count().Sub(before)
	r.add(bench.Value(Renewals, name, r.Registrations, float64(spent.Renewals)/2, ""),
		bench.Value(OtherCost, name, r.Registrations, float64(spent.Requests()-spent.Renewals)/2, ""))
	return nil
}
