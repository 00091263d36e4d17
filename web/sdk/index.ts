/** The client of `/ws/v1` and `/api`, without any user interface. Start reading at `client.ts`. */

export type * from './api-types';
export type { StopReason } from './backoff';
export { chatTitle, companion, Messenger } from './client';
export { CommandError, type Status } from './connection';
export { browserEnvironment, type Environment } from './environment';
export type { Presence, PresenceState } from './frames';
export type { OutboxItem } from './outbox';
export { ApiError } from './problem';
export { isDelayed, isFinal, type RunView } from './runs';
export { hasEnded, SessionKeeper } from './session';
export type { State } from './state';
export { EMPTY_TIMELINE, type Timeline } from './timeline';
