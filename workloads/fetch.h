/* Files of Debian packages, without root: the installed ones, else the package downloaded and
   unpacked under the data home. */
#ifndef MB_WORKLOADS_FETCH_H
#define MB_WORKLOADS_FETCH_H

#include "workloads/source.h"

/* Finds the folder INSIDE ("usr/share/...") of PACKAGE: GIVEN, when it is not NULL; else /INSIDE;
   else the unpacked package, after apt-get download and dpkg-deb -x if need be. The caller frees
   *FOLDER. MB_EMISSING names the package and what to do. */
mb_err mb_fetch(const char *package, const char *inside, const char *given, const mb_progress *p,
                char **folder);

#endif
