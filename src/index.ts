export { PAGE_COUNT } from '../assembly/layout.js';
