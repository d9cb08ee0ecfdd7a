// Package robfigcron holds adapt.Cron and adapt.CronFunc to what they say, under robfig/cron and against a real etcd. It has tests only.
package robfigcron
