// Package gocron holds adapt.Gocron to what it says, under gocron and against a real etcd. It has tests only.
package gocron
