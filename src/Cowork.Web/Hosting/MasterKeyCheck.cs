using Cowork.Application;
using Cowork.Application.Storage;

namespace Cowork.Web;

/// <summary>Whether this host has the master key that its database is under. Without it the host is not ready: it could neither open nor keep a secret.</summary>
public sealed partial class MasterKeyCheck(TenantSecrets secrets, TimeProvider clock, ILogger<MasterKeyCheck> logger)
{
    static readonly TimeSpan LookEvery = TimeSpan.FromSeconds(5);

    volatile string? whyNot;

    /// <summary>A sentence for operators, with the ids of keys; null: the host has it, as far as it knows.</summary>
    public string? WhyNot => whyNot;

    /// <summary>Looks once. Answers whether the host has the key.</summary>
    public async Task<bool> Look(CancellationToken ct)
    {
        try
        {
            var why = await secrets.WhyUnusable(ct);
            if (why is not null && why != whyNot)
            {
                LogUnusable(logger, why);
            }
            whyNot = why;
        }
        catch (StorageUnavailableException)
        {
            // Nothing is known anew.
        }
        catch (ArgumentException e)
        {
            // The file of keys cannot be read any more; it was when the host started.
            whyNot = e.Message;
            LogUnusable(logger, e.Message);
        }
        return whyNot is null;
    }

    /// <summary>Waits until the host has the key.</summary>
    /// <param name="waits">Called when it has to wait.</param>
    public async Task UntilUsable(Action waits, CancellationToken ct)
    {
        while (!await Look(ct))
        {
            waits();
            await Task.Delay(LookEvery, clock, ct);
        }
    }

    /// <summary>Looks again and again: another host may put the database under a key that this one does not have.</summary>
    public async Task Run(CancellationToken ct)
    {
        while (true)
        {
            await Task.Delay(LookEvery, clock, ct);
            await Look(ct);
        }
    }

    [LoggerMessage(Level = LogLevel.Critical, Message = "The host is not ready: {Reason}")]
    static partial void LogUnusable(ILogger logger, string reason);
}
