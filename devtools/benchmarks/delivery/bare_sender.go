// The reference in Go: net/http posts prepared bodies and does nothing else.
// Arguments and output as of bare_sender.py: URL CA_FILE BODIES CONCURRENCY.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func cpuSeconds() float64 {
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}

func main() {
	url, bodies := os.Args[1], bytes.Split(bytes.TrimSpace(must(os.ReadFile(os.Args[3]))), []byte("\n"))
	concurrency, roots := must(strconv.Atoi(os.Args[4])), x509.NewCertPool()
	roots.AppendCertsFromPEM(must(os.ReadFile(os.Args[2])))
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots}, MaxConnsPerHost: concurrency, MaxIdleConnsPerHost: concurrency}}
	began := cpuSeconds()
	var next, accepted atomic.Int64
	var senders sync.WaitGroup
	for range concurrency {
		senders.Go(func() {
			for at := next.Add(1) - 1; at < int64(len(bodies)); at = next.Add(1) - 1 {
				request := must(http.NewRequest("POST", url, bytes.NewReader(bodies[at])))
				request.Header.Set("Authorization", "Bearer sandbox")
				request.Header.Set("Content-Type", "application/json")
				response := must(client.Do(request))
				io.Copy(io.Discard, response.Body)
				response.Body.Close()
				if response.StatusCode == 200 {
					accepted.Add(1)
				}
			}
		})
	}
	senders.Wait()
	fmt.Printf("{\"accepted\": %d, \"cpu_s\": %f}\n", accepted.Load(), cpuSeconds()-began)
}
