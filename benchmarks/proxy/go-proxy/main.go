// A reverse proxy of Go's standard library on one core, tuned to keep its connections.
package main

import (
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"runtime"
)

func main() {
	runtime.GOMAXPROCS(1)
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: os.Args[2]})
	proxy.Transport = &http.Transport{
		MaxIdleConns:        4096,
		MaxIdleConnsPerHost: 4096,
		DisableCompression:  true,
	}
	log.Fatal(http.ListenAndServe(os.Args[1], proxy))
}
