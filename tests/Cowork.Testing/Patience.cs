namespace Cowork.Testing;

/// <summary>How specs wait.</summary>
public static class Patience
{
    /// <summary>How long a spec waits for what must come to pass. It is no bound on speed: a machine may be busy with other specs for a minute and more.</summary>
    public const int Seconds = 150;

    /// <inheritdoc cref="Seconds"/>
    public static readonly TimeSpan Limit = TimeSpan.FromSeconds(Seconds);
}
