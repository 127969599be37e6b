using System.Collections.Concurrent;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Web.Http;

/// <summary>
/// Remembers when tokens were used, to the minute, and writes it down now and then: a request costs a look into memory, and a token at most one write a minute.
/// </summary>
public sealed class TokenUses(ITokenUses store, TimeProvider clock)
{
    static readonly TimeSpan WriteEvery = TimeSpan.FromSeconds(10);

    /// <summary>Tokens whose last use is kept in memory when it is written down and over.</summary>
    const int KeptMax = 10_000;

    /// <summary>A host that stops does not wait longer for it.</summary>
    static readonly TimeSpan LastWriteMax = TimeSpan.FromSeconds(2);

    readonly ConcurrentDictionary<(string Org, TokenKey Token), DateTimeOffset> used = new();
    readonly ConcurrentDictionary<(string Org, TokenKey Token), DateTimeOffset> unwritten = new();

    /// <summary>A token has let a request in.</summary>
    public void Used(string org, TokenKey token)
    {
        var now = clock.GetUtcNow();
        var minute = new DateTimeOffset(now.Ticks - (now.Ticks % TimeSpan.TicksPerMinute), TimeSpan.Zero);
        if (!used.TryGetValue((org, token), out var known) || known < minute)
        {
            used[(org, token)] = minute;
            unwritten[(org, token)] = minute;
        }
    }

    /// <summary>The last uses of these tokens, of this host up to now and of the others as they have written them down.</summary>
    public async ValueTask<Func<TokenKey, DateTimeOffset?>> Last(string org, IReadOnlyList<TokenKey> tokens, CancellationToken ct)
    {
        var written = (await store.Get(org, tokens, ct)).ToDictionary(use => use.Token, use => use.At);
        return token => (used.TryGetValue((org, token), out var here), written.TryGetValue(token, out var there)) switch
        {
            (true, true) => here > there ? here : there,
            (true, false) => here,
            (false, true) => there,
            _ => null,
        };
    }

    /// <summary>Writes until the token is cancelled, and then what is left.</summary>
    public async Task Run(CancellationToken ct)
    {
        while (await clock.Pause(WriteEvery, ct))
        {
            await WriteNow(ct);
        }
        using var deadline = new CancellationTokenSource(LastWriteMax, clock);
        await WriteNow(deadline.Token);
    }

    /// <summary>Writes down what is not written yet.</summary>
    public async Task WriteNow(CancellationToken ct)
    {
        var now = unwritten.ToArray();
        if (now.Length == 0)
        {
            return;
        }
        try
        {
            await store.Put([.. now.Select(use => new TokenUse(use.Key.Org, use.Key.Token, use.Value))], ct);
        }
        catch (Exception e) when (e is StorageUnavailableException or OperationCanceledException)
        {
            // Written with the next ones.
            return;
        }
        foreach (var use in now)
        {
            unwritten.TryRemove(use);
        }
        if (used.Count > KeptMax)
        {
            // What is written down need not be remembered; a token that is used again in that minute is written once more.
            foreach (var use in used.Where(use => !unwritten.ContainsKey(use.Key)).ToList())
            {
                used.TryRemove(use);
            }
        }
    }
}
