// Package prom exports what a Session does to Prometheus: how long calls wait, and how that ends; how long holds last, and how old the ones are
// that still stand; what was lost, and why; how renewals fare.
//
//	s, err := session.Open(ctx, client, session.WithMetrics(nil))
//	…
//	c, err := prom.NewCollector(s)
//	…
//	prometheus.MustRegister(c)
//
// All durations are in seconds. Histograms have classic buckets from 0.1 ms to an hour, and native ones for a Prometheus that asks for them.
// Ages and gauges are computed when they are scraped: a lock that hangs shows, also before it is given back.
//
// "fenceline exporter" serves what etcd shows of all processes; this package shows what only the process itself knows. The files
// deploy/prometheus/alerts.yml and deploy/grafana/fenceline.json use both.
package prom
