// Package gocron holds adapt.Gocron, a Locker, and election.Election, an Elector, to what they say, under gocron and
// against a real etcd. It has tests only.
package gocron
