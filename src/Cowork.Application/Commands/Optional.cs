namespace Cowork.Application;

/// <summary>A member of a change: given, or left as it is.</summary>
/// <param name="Value">Null where it was given: to be cleared.</param>
public readonly record struct Optional<T>(bool IsGiven, T? Value)
    where T : class
{
    public static Optional<T> Of(T? value) => new(true, value);

    /// <summary>The member after the change.</summary>
    public T? Or(T? before) => IsGiven ? Value : before;

    public Optional<TOther> Select<TOther>(Func<T, TOther> to)
        where TOther : class => new(IsGiven, Value is null ? null : to(Value));
}
