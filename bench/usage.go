package bench

import (
	"runtime/metrics"
	"time"
)

// Usage is what a process takes: of this one, what contenders, the benchmark and clients within this process do together.
type Usage struct {
	CPU       time.Duration `json:"cpu_ns"`               // of all its processors; 0 where the system does not tell
	Allocated int64         `json:"allocated_bytes"`      // memory that was taken, given back or not
	Heap      int64         `json:"heap_bytes,omitempty"` // in use at the end
}

// usage is since the process began. It does not stop the world.
func usage() Usage {
	samples := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(samples)
	return Usage{CPU: cpuTime(), Allocated: int64(samples[0].Value.Uint64()), Heap: int64(samples[1].Value.Uint64())}
}

// since is what was used from then to now.
func (u Usage) since(then Usage) Usage {
	return Usage{CPU: u.CPU - then.CPU, Allocated: u.Allocated - then.Allocated, Heap: u.Heap}
}

func (u Usage) add(o Usage) Usage {
	return Usage{CPU: u.CPU + o.CPU, Allocated: u.Allocated + o.Allocated, Heap: max(u.Heap, o.Heap)}
}
