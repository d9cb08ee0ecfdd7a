package bench

import (
	"bufio"
	"os"
	"runtime"
	"strings"
)

// Environment is where a run took place.
type Environment struct {
	Go        string   `json:"go"`
	OS        string   `json:"os"`
	Arch      string   `json:"arch"`
	CPU       string   `json:"cpu,omitempty"`
	CPUs      int      `json:"cpus"`
	Etcd      string   `json:"etcd,omitempty"` // version of the first endpoint's server
	Endpoints []string `json:"endpoints"`
	Members   int      `json:"members,omitempty"`
	Revision  int64    `json:"revision,omitempty"` // of the store when the run began

	// Put is what one small put took, one after the other by one client, before the run: what a proposal costs here.
	Put *Latency `json:"put,omitempty"`
}

func environment() Environment {
	return Environment{
		Go:   runtime.Version(),
		OS:   runtime.GOOS,
		Arch: runtime.GOARCH,
		CPU:  cpuName(),
		CPUs: runtime.GOMAXPROCS(0),
	}
}

// cpuName asks Linux; elsewhere the report does without.
func cpuName() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if key, value, _ := strings.Cut(lines.Text(), ":"); strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
