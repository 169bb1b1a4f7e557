"""Service names by port number and the reverse, and the ports most worth asking, in order."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from functools import cache
from itertools import islice
from typing import Final

from .. import arguments

MAX_PORT: Final = 65535
_PORT: Final = re.compile("[0-9]{1,5}")

# Our own table, used after the system's services file. A name is from IANA's registry (which is CC0) if the port is
# used for that service today; otherwise it is the name of the project that uses the port.
#
# The TCP half is also TOP_PORTS. Its order was judged port by port from the registry and from the default ports in the
# manuals of common servers, not from any scan or any scanner's list. A line or two is a kind of service. Kinds, and
# ports within a kind, go from common to rare.
_TCP: Final = """
80 http 443 https 22 ssh 21 ftp 25 smtp 53 domain 23 telnet 3389 ms-wbt-server 445 microsoft-ds 139 netbios-ssn
110 pop3 143 imap 993 imaps 995 pop3s 587 submission 465 submissions 111 sunrpc 135 epmap 8080 http-alt 8443 https-alt
3306 mysql 5432 postgresql 6379 redis 27017 mongodb 1433 ms-sql-s 1521 oracle 5900 vnc 2049 nfs 389 ldap 636 ldaps
8000 http-alt 8888 http-proxy 3000 http-alt 5000 http-alt 8081 http-alt 9000 http-alt 8008 http-alt 81 http-alt
9090 prometheus 9200 elasticsearch 5601 kibana 11211 memcache 5672 amqp 15672 rabbitmq-web 9092 kafka 2181 zookeeper
1883 mqtt 8883 secure-mqtt 2375 docker 2376 docker-s 6443 kubernetes-api 10250 kubelet 2379 etcd-client 2380 etcd-server
5985 wsman 5986 wsmans 88 kerberos 464 kpasswd 3268 msft-gc 3269 msft-gc-ssl 593 http-rpc-epmap 9389 adws 1723 pptp
631 ipp 9100 pdl-datastream 515 printer 548 afpovertcp 873 rsync 554 rtsp 1935 rtmp 5060 sip 5061 sips 3478 stun
2222 ssh-alt 2022 ssh-alt 8022 ssh-alt 990 ftps 989 ftps-data 20 ftp-data 115 sftp 69 tftp 992 telnets 2323 telnet-alt
8082 http-alt 8083 http-alt 8084 http-alt 8085 http-alt 8086 influxdb 8087 http-alt 8088 radan-http 8089 splunkd
8090 http-alt 8091 couchbase 8180 http-alt 8280 http-alt 8880 http-alt 8001 http-alt 8002 http-alt 8009 ajp13
3128 squid 1080 socks 8118 privoxy 9050 tor-socks 9001 tor-orport 9051 tor-control 9030 tor-dirport 8123 home-assistant
4443 https-alt 9443 https-alt 10443 https-alt 7443 https-alt 5443 https-alt 444 snpp 8444 https-alt 4433 https-alt
82 http-alt 83 http-alt 84 http-alt 3001 http-alt 3002 http-alt 4000 http-alt 4200 ng-serve 5173 vite
5001 http-alt 6000 x11 6001 x11 7000 afs3-fileserver 7001 weblogic 7002 weblogic-s 7070 http-alt 7777 http-alt
4848 glassfish 9990 wildfly 9999 http-alt 8500 consul
8200 vault 8300 consul-rpc 8600 consul-dns 4646 nomad 9093 alertmanager
9091 transmission 9115 blackbox-exporter 9187 postgres-exporter 9104 mysqld-exporter 9121 redis-exporter
3100 loki 4317 otlp-grpc 4318 otlp-http 14268 jaeger-collector 16686 jaeger-query 9411 zipkin 2003 graphite 8125 statsd
8126 dd-trace 10050 zabbix-agent 10051 zabbix-trapper 5666 nrpe 6556 checkmk-agent 4949 munin 19999 netdata 161 snmp
9300 elasticsearch-node 5044 beats 9600 logstash 24224 fluentd 514 shell 6514 syslog-tls 601 syslog-conn 12201 gelf
50000 db2 1434 ms-sql-m 1522 oracle-alt 1526 oracle-sec 3050 gds-db 5433 postgresql-alt 6432 pgbouncer 33060 mysqlx
26257 cockroachdb 9042 cassandra 7199 cassandra-jmx 9160 cassandra-thrift
28015 rethinkdb 5984 couchdb 7474 neo4j 7687 bolt
8529 arangodb 27018 mongodb-shard 27019 mongodb-config 6380 redis-tls 26379 redis-sentinel 16379 redis-bus
19530 milvus 6333 qdrant 8983 solr 7700 meilisearch 8108 typesense 4222 nats 6222 nats-cluster 8222 nats-monitor
61616 activemq 61613 stomp 8161 activemq-web 5671 amqps 4369 epmd 25672 erlang-dist 5222 xmpp-client 5269 xmpp-server
6667 ircd 6697 ircs-u 194 irc 119 nntp 563 nntps 4190 sieve 24 lmtp 106 poppassd 109 pop2 220 imap3 2525 smtp-alt
113 auth 79 finger 70 gopher 13 daytime 37 time 7 echo 9 discard 19 chargen 17 qotd 11 systat 43 nicname 1 tcpmux
512 exec 513 login 543 klogin 544 kshell 749 kerberos-adm 179 bgp 646 ldp 711 cisco-tdp 49 tacacs 853 domain-s 5353 mdns
5901 vnc 5902 vnc 5903 vnc 5800 vnc-http 4899 radmin 5938 teamviewer 3283 net-assistant 8291 winbox 8728 mikrotik-api
902 vmware-auth 8006 proxmox 16509 libvirt 9440 nutanix 5480 vmware-vami 623 asf-rmcp 664 asf-secure-rmcp 17988 ilo-vm
860 iscsi 3260 iscsi-target 24007 glusterd 6789 ceph-mon 3300 ceph 9864 hdfs-datanode 9870 hdfs-namenode 50070 hdfs-web
8020 hdfs 8032 yarn 8042 yarn-node 10000 webmin
18080 spark-history 7077 spark 4040 spark-ui 8787 dask-dashboard 8786 dask
6066 spark-rest 6006 tensorboard 8265 ray 11434 ollama 7860 gradio 8501 streamlit 9418 git 3690 svn 29418 gerrit
8111 teamcity 50051 grpc 9229 node-inspect 5005 jdwp 1099 rmiregistry 9010 jmx 5555 adb 5037 adb-server 2345 delve
502 mbap 102 iso-tsap 20000 dnp 44818 ethernet-ip 47808 bacnet 4840 opcua-tcp 1911 niagara-fox 2404 iec-104
32400 plex 8096 jellyfin 8112 deluge 51413 bittorrent
6881 bittorrent-alt 7878 radarr 8989 sonarr 1900 ssdp 62078 iphone-sync
5357 wsdapi 2869 icslap 1801 msmq 49152 dynamic-rpc 49153 dynamic-rpc 49154 dynamic-rpc 49155 dynamic-rpc
25565 minecraft 27015 source-engine 3724 blizwow 64738 mumble
30033 teamspeak 8333 bitcoin 8332 bitcoin-rpc 30303 ethereum
8545 ethereum-rpc 1194 openvpn 1701 l2tp 500 isakmp
4500 ipsec-nat-t 655 tinc 8388 shadowsocks 5349 stuns 1720 h323hostcall
2000 cisco-sccp 5038 asterisk-ami 8021 freeswitch 2082 cpanel 2083 cpanels 2086 whm 2087 whms 2095 webmail 2096 webmails
"""

_UDP: Final = """
53 domain 67 bootps 68 bootpc 69 tftp 123 ntp 137 netbios-ns 138 netbios-dgm 161 snmp 162 snmptrap 500 isakmp 514 syslog
520 router 1900 ssdp 5353 mdns 4500 ipsec-nat-t 1194 openvpn 51820 wireguard 443 https 111 sunrpc 2049 nfs 1701 l2tp
1812 radius 1813 radius-acct 3478 stun 5060 sip 5355 llmnr
5683 coap 5684 coaps 88 kerberos 389 ldap 464 kpasswd 623 asf-rmcp
4789 vxlan 6081 geneve 6343 sflow 2055 netflow 4739 ipfix
3702 ws-discovery 7 echo 9 discard 13 daytime 17 qotd 19 chargen
37 time 177 xdmcp 427 svrloc 546 dhcpv6-client 547 dhcpv6-server 631 ipp 853 domain-s 1434 ms-sql-m 47808 bacnet
"""


def _read_table(text: str) -> dict[int, str]:
    words = iter(text.split())
    return {int(port): name for port, name in zip(words, words, strict=True)}


_OWN: Final = {"tcp": _read_table(_TCP), "udp": _read_table(_UDP)}

TOP_PORTS: Final = tuple(_OWN["tcp"])
"""The TCP ports most worth asking, best first."""


def top_ports(count: int) -> tuple[int, ...]:
    """Return the ``count`` TCP ports most worth asking, best first: TOP_PORTS, then the other ports in order.

    Raises ValueError unless ``count`` is 1 to 65535.
    """
    if not 1 <= count <= MAX_PORT:
        raise ValueError(f"expected a number of ports of 1 to {MAX_PORT}, not {count}")
    listed = set(TOP_PORTS)
    others = (port for port in range(1, MAX_PORT + 1) if port not in listed)
    return TOP_PORTS[:count] + tuple(islice(others, max(0, count - len(TOP_PORTS))))


def service_name(port: int, protocol: str = "tcp", default: str = "unknown") -> str:
    """Return the service that usually has this port, from the system's services file or oxisock's own table.

    ``port`` is 1 to 65535, and ``protocol`` is "tcp" or "udp". A port without a name returns ``default``. Raises
    ValueError for another port number or protocol, and TypeError for a port that is not an int.
    """
    return _names(protocol)[0].get(arguments.port(port), default)


def service_port(name: str, protocol: str = "tcp") -> int | None:
    """Return the port of a service by name or alias, in any case of letters, or None if it is unknown."""
    return _names(protocol)[1].get(name.lower())


def service_names(protocol: str = "tcp") -> Iterable[str]:
    """Return the names and aliases of all services, in small letters."""
    return _names(protocol)[1]


def _names(protocol: str) -> tuple[dict[int, str], dict[str, int]]:
    return _load()[arguments.choice(protocol, "protocol", ("tcp", "udp"))]


def _services_file() -> str:
    if os.name == "nt":
        return os.path.join(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32", "drivers", "etc", "services")
    return "/etc/services"


@cache
def _load() -> dict[str, tuple[dict[int, str], dict[str, int]]]:
    """Return all names. The file is read once, because socket.getservbyport would read it for each port."""
    found: dict[str, tuple[dict[int, str], dict[str, int]]] = {"tcp": ({}, {}), "udp": ({}, {})}
    try:
        with open(_services_file(), encoding="utf-8", errors="replace") as file:
            lines = file.readlines()
    except OSError:
        lines = []  # a slim container has no such file
    for line in lines:
        name, *words = line.partition("#")[0].split() or [""]
        number, _, protocol = words[0].partition("/") if words else ("", "", "")
        if protocol not in found or not _PORT.fullmatch(number) or not 1 <= int(number) <= MAX_PORT:
            continue
        _remember(found[protocol], int(number), name, *words[1:])
    for protocol, own in _OWN.items():
        for port, name in own.items():
            _remember(found[protocol], port, name)
    return found


def _remember(known: tuple[dict[int, str], dict[str, int]], port: int, *names: str) -> None:
    """Add a service unless its port or name is known. The first one counts, as with getservbyport."""
    known[0].setdefault(port, names[0])
    for name in names:
        known[1].setdefault(name.lower(), port)


def port_span(start: int, end: int) -> range:
    """Return the ports from ``start`` to ``end``, both included. Raises ValueError if ``start`` is above ``end``."""
    first, last = arguments.port(start, "start"), arguments.port(end, "end")
    if first > last:
        raise ValueError(f"start={first} is above end={last}")
    return range(first, last + 1)
