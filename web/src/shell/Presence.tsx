/** How present a person is: a dot beside their picture, and in words. Of whom nothing is known, nothing is said. */

import type { PresenceState } from '../../sdk';
import { useSpeech } from '../text';
import { Avatar } from './Avatar';
import { useMessengerState } from './messenger';
import { useOnScreen } from './onScreen';

const usePresence = (person: string): PresenceState =>
  useMessengerState((state) => state.presence.get(person)?.state ?? 'unknown');

/** A picture with a dot for who is here. It is decoration: the word stands beside it, seen or unseen. */
export function PresentAvatar({ name, person }: { name: string; person: string }) {
  const state = usePresence(person);
  return (
    <span className="present" ref={useOnScreen(person)} data-testid="presence" data-state={state}>
      <Avatar name={name} />
      {(state === 'active' || state === 'idle') && (
        <span className="presence-dot" data-state={state} aria-hidden="true" />
      )}
    </span>
  );
}

/** The word for everybody. */
export function PresenceWord({ person }: { person: string }) {
  const { t } = useSpeech();
  const state = usePresence(person);
  if (state === 'unknown') return null;
  return (
    <span className="presence-word" data-testid="presence-word">
      {t.presence[state]}
    </span>
  );
}

/** The word for those who do not see the dot. */
export function UnseenPresence({ person }: { person: string }) {
  const { t } = useSpeech();
  const state = usePresence(person);
  if (state !== 'active' && state !== 'idle') return null;
  return <span className="visually-hidden">{t.presence[state]}</span>;
}
