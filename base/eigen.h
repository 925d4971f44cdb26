/* Eigenvalues of symmetric matrices. */
#ifndef MB_BASE_EIGEN_H
#define MB_BASE_EIGEN_H

/* Jacobi's method: M (N, N) becomes diagonal, V (N, N) its eigenvectors in columns. */
void mb_eigen(double *m, double *v, int n);

#endif
