package registry

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// PrometheusSD serves the instances of a service in Prometheus's format for HTTP service discovery
// (https://prometheus.io/docs/prometheus/latest/http_sd/), whatever their status; with an empty service those of all.
// Labels are __meta_fenceline_service, _id, _status, _weight, _zone, _version, and _meta_<key> for each key of Meta, in
// which characters that a label cannot have are underscores.
func PrometheusSD(d *Directory, service string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "want GET", http.StatusMethodNotAllowed)
			return
		}
		groups := []TargetGroup{}
		services := []string{service}
		if service == "" {
			services = d.Services()
		}
		for _, s := range services {
			entries, err := d.Instances(r.Context(), s)
			if err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
			for _, e := range entries {
				groups = append(groups, TargetGroupOf(s, e.Instance))
			}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(groups) // whoever has hung up does not want to know
	})
}

// TargetGroup is an element of that format: one instance, with its labels.
type TargetGroup struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// TargetGroupOf is an instance in Prometheus's format.
func TargetGroupOf(service string, in Instance) TargetGroup {
	const prefix = "__meta_fenceline_"
	labels := map[string]string{}
	for _, k := range slices.Sorted(maps.Keys(in.Meta)) { // of two that become the same, the later
		labels[prefix+"meta_"+labelName(k)] = in.Meta[k]
	}
	for k, v := range map[string]string{"service": service, "id": in.ID, "status": string(in.Status), "weight": strconv.Itoa(in.Weight),
		"zone": in.Zone, "version": in.Version} {
		if v != "" {
			labels[prefix+k] = v
		}
	}
	return TargetGroup{[]string{in.Addr}, labels}
}

func labelName(key string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, key)
}
