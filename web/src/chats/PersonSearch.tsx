/** Finds a person by their exact name and opens the private chat with them. */

import { type FormEvent, useState } from 'react';
import type { PublicUser } from '../../sdk';
import { Avatar } from '../shell/Avatar';
import { SearchIcon } from '../shell/icons';
import { useMessenger } from '../shell/messenger';
import { problemText } from '../shell/problems';
import { go } from '../shell/route';
import { useSpeech } from '../text';

type Found = { at: 'nothing' } | { at: 'person'; person: PublicUser } | { at: 'notice'; text: string };

export function PersonSearch() {
  const { t } = useSpeech();
  const messenger = useMessenger();
  const [name, setName] = useState('');
  const [found, setFound] = useState<Found>({ at: 'nothing' });
  const guarded = async (work: () => Promise<void>) => {
    try {
      await work();
    } catch (error) {
      setFound({ at: 'notice', text: problemText(t, error) });
    }
  };
  const search = (event: FormEvent) => {
    event.preventDefault();
    const wanted = name.trim();
    if (wanted === '') return;
    void guarded(async () => {
      const person = await messenger.api.userByName(wanted);
      if (person === null) setFound({ at: 'notice', text: t.chats.nobody(wanted) });
      else if (person.id === messenger.me.id) setFound({ at: 'notice', text: t.chats.yourself });
      else setFound({ at: 'person', person });
    });
  };
  const write = (person: PublicUser) =>
    guarded(async () => {
      const chat = await messenger.openPrivate(person.id);
      setFound({ at: 'nothing' });
      setName('');
      go({ at: 'chat', chat });
    });
  return (
    <search className="person-search">
      <form onSubmit={search} data-testid="user-search">
        <input
          type="search"
          value={name}
          aria-label={t.chats.find}
          placeholder={t.chats.findShort}
          autoCapitalize="none"
          spellCheck={false}
          data-testid="user-search-input"
          onChange={(event) => {
            setName(event.target.value);
            setFound({ at: 'nothing' });
          }}
        />
        <button type="submit" className="icon-button" aria-label={t.chats.findButton} data-testid="user-search-submit">
          <SearchIcon />
        </button>
      </form>
      {found.at === 'notice' && (
        <p className="notice" role="alert" data-testid="user-search-notice">
          {found.text}
        </p>
      )}
      {found.at === 'person' && (
        <button
          type="button"
          className="person-found"
          data-testid="user-search-result"
          onClick={() => write(found.person)}
        >
          <Avatar name={found.person.username} />
          <span>{t.chats.write(found.person.username)}</span>
        </button>
      )}
    </search>
  );
}
