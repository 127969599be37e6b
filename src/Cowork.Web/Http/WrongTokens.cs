using System.Net;

using Cowork.Domain;

namespace Cowork.Web.Http;

/// <summary>
/// Keeps wrong tokens from the database. A token that was refused is refused again without a look, and an address that sends many wrong ones has its tokens looked up
/// slowly for the rest of the minute. What it remembers is bounded; what does not fit is looked up.
/// </summary>
public sealed class WrongTokens(OpenRequests heard, HttpLimits limits, TimeProvider clock)
{
    const int RememberedMax = 10_000;

    /// <summary>Tokens that are looked up in a second for an address that has sent too many wrong ones.</summary>
    const int SlowLookUps = 10;

    static readonly TimeSpan Window = TimeSpan.FromMinutes(1);

    /// <summary>
    /// A refusal is only remembered of a token whose id is older: one that another host has just made is never among them, however late this host hears of it.
    /// </summary>
    static readonly TimeSpan SettledAfter = TimeSpan.FromMinutes(1);

    readonly Lock gate = new();
    readonly Dictionary<TokenKey, Refusal> refusals = [];
    readonly Dictionary<TokenKey, string> worked = [];
    readonly Dictionary<string, Address> addresses = [];

    /// <summary>Tokens that were refused without a look into the database, since the host's start.</summary>
    public long Spared { get; private set; }

    /// <summary>The fault of a token that was refused a moment ago, and nothing has been heard of that could have made it right; null: it must be looked up.</summary>
    public TokenFault? Remembered(BearerToken token)
    {
        lock (gate)
        {
            if (!refusals.TryGetValue(token.Key, out var known) || known.Heard != heard.Heard || clock.GetElapsedTime(known.At) > Window
                || known.Org != token.Org || !token.Matches(known.SecretSha256))
            {
                return null;
            }
            Spared++;
            return known.Fault;
        }
    }

    /// <summary>The refusal of a token that comes from an address with many wrong ones, and is not to be looked up now; null: it is.</summary>
    /// <param name="token">Null: what was sent is no token of ours.</param>
    public ErrorResult? Slowed(BearerToken? token, IPAddress? from)
    {
        lock (gate)
        {
            if (!addresses.TryGetValue(Networks.Place(from), out var address) || IsOver(address) || address.Failures < limits.FailuresPerMinute)
            {
                return null;
            }
            if (token is not null && ((worked.TryGetValue(token.Key, out var right) && token.Matches(right)) || address.MayLookUp(clock)))
            {
                return null;
            }
            Spared++;
            return TooMany(address);
        }
    }

    /// <summary>Counts a wrong token. Answers the refusal when its address has sent too many of them.</summary>
    /// <param name="token">Null: what was sent is no token of ours.</param>
    /// <param name="seen"><see cref="OpenRequests.Heard"/> before it was looked up.</param>
    public ErrorResult? Failed(BearerToken? token, TokenFault fault, IPAddress? from, long seen)
    {
        lock (gate)
        {
            if (token is not null && clock.GetUtcNow() - Ids.TimeOf(token.Key.Value) > SettledAfter)
            {
                Bound(refusals, known => clock.GetElapsedTime(known.At) > Window);
                refusals[token.Key] = new(token.Org, token.SecretSha256, fault, seen, clock.GetTimestamp());
            }
            var place = Networks.Place(from);
            if (!addresses.TryGetValue(place, out var address) || IsOver(address))
            {
                Bound(addresses, IsOver);
                addresses[place] = address = new() { Begin = clock.GetTimestamp() };
            }
            return ++address.Failures > limits.FailuresPerMinute ? TooMany(address) : null;
        }
    }

    /// <summary>A right token. It is not slowed by what others send from its address.</summary>
    public void Worked(BearerToken token, string secretSha256)
    {
        lock (gate)
        {
            if (!worked.TryGetValue(token.Key, out var known) || known != secretSha256)
            {
                Bound(worked, _ => false);
                worked[token.Key] = secretSha256;
            }
        }
    }

    bool IsOver(Address address) => clock.GetElapsedTime(address.Begin) >= Window;

    ErrorResult TooMany(Address address) =>
        new(429, "too_many_failures", "Too many wrong tokens came from your address. Tokens that it sends are looked up slowly for the rest of the minute.")
        {
            RetryAfter = Math.Max(1, (int)Math.Ceiling((Window - clock.GetElapsedTime(address.Begin)).TotalSeconds)),
        };

    /// <summary>Makes room for one more: by what is over, or else by all of it.</summary>
    static void Bound<TKey, TValue>(Dictionary<TKey, TValue> known, Func<TValue, bool> isOver)
        where TKey : notnull
    {
        if (known.Count < RememberedMax)
        {
            return;
        }
        foreach (var (key, _) in known.Where(one => isOver(one.Value)).ToList())
        {
            known.Remove(key);
        }
        if (known.Count >= RememberedMax)
        {
            known.Clear();
        }
    }

    /// <param name="At">Timestamp, so that a clock that is set changes nothing.</param>
    sealed record Refusal(string Org, string SecretSha256, TokenFault Fault, long Heard, long At);

    /// <summary>An address in one minute.</summary>
    sealed class Address
    {
        long second;
        int lookUps;

        /// <summary>Timestamp.</summary>
        public required long Begin { get; init; }

        public int Failures { get; set; }

        public bool MayLookUp(TimeProvider clock)
        {
            if (lookUps == 0 || clock.GetElapsedTime(second) >= TimeSpan.FromSeconds(1))
            {
                (second, lookUps) = (clock.GetTimestamp(), 0);
            }
            return lookUps++ < SlowLookUps;
        }
    }
}
