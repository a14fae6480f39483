/* pe/builtin/address.h - HOST:PORT as sockets want it: names, IPv4, [IPv6]; no host means any. */
#ifndef OXB_PE_BUILTIN_ADDRESS_H
#define OXB_PE_BUILTIN_ADDRESS_H

#include <netdb.h>
#include <stdbool.h>

/* address_resolve - the addresses of "HOST:PORT"; freeaddrinfo them.
 * @to_listen: an empty host or `*` means all of this machine's; else this machine.
 * Blocks: yes, when HOST is a name.  Return: NULL, *why (static) set. */
struct addrinfo *address_resolve(const char *text, bool to_listen, const char **why);
/* socket_own_text - "HOST:PORT" in numbers, of a socket's own end. */
void socket_own_text(int fd, char *out, unsigned bytes);

#endif
